// Training a byte-level BPE vocabulary of the GPT-2 and Llama-3 kind, and writing it as a Hugging Face folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

struct BpeTrainSettings {
  int64_t vocab_size = 32000;               // of the whole: 256 bytes, merges, special tokens
  std::vector<std::string> special_tokens;  // they get the last ids, in this order
  // Which of the special tokens plays which part; empty is none. The bos is put before every text that is encoded
  // with special tokens.
  std::string bos_token, eos_token, pad_token;
  int64_t smallest_count = 2;  // a pair seen less often is not merged; the vocabulary may then stay smaller
};

// Words are counted as texts come in, then train() merges the most frequent pair over and over. Nothing merges across
// words, which are what Llama-3's expression cuts (" France" is one, "1234" is "123" and "4"). The result depends only
// on the words and their counts, not on the order of the texts: of pairs with equal counts the one with the lower ids
// goes first.
class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainSettings settings);  // throws Error for settings that cannot be
  ~BpeTrainer();
  BpeTrainer(BpeTrainer&&) noexcept;
  BpeTrainer& operator=(BpeTrainer&&) noexcept;

  // `weight` counts the text that many times. Special tokens written in the text are no words of it.
  void add(std::string_view text, int64_t weight = 1);
  int64_t word_count() const;  // different words so far

  void train();
  // After train(): ids of the merged pairs, in order; merge i makes the token 256 + i.
  const std::vector<std::pair<int32_t, int32_t>>& merges() const;
  int64_t vocab_size() const;

  // After train(): the two files of the folder, which open() and Hugging Face's library read.
  std::string tokenizer_json() const;
  std::string config_json() const;
  void write(const fs::path& folder) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace introspect
