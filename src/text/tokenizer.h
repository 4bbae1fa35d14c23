// Tokenizers of Hugging Face folders (tokenizer.json of the BPE families), equal to the library "tokenizers".
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

namespace text {
struct TokenizerState;
}

struct Encoding {
  std::vector<int64_t> ids;
  // For each token the bytes [first, second) of the text given that it came from; {0, 0} for special tokens that were
  // added around the text. Byte-level tokens may end inside a character. Where a normalizer changed the text, the
  // range is that of the characters that were changed; white space that an added token swallows is in its range.
  std::vector<std::pair<size_t, size_t>> offsets;
};

// Cheap to copy and move; the const methods may be called from several threads at once.
// Text that is not valid UTF-8 is read as if every maximal invalid part were U+FFFD, as Rust and Python replace it.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where they are there, tokenizer_config.json and chat_template.jinja.
  // Throws Error naming the file and the part that is broken or not supported.
  static Tokenizer open(const fs::path& folder);
  static Tokenizer from_file(const fs::path& tokenizer_json);
  static Tokenizer from_json(std::string_view tokenizer_json, std::string_view config_json = {},
                             const std::string& label = "tokenizer.json");

  // As Hugging Face's: special tokens written in the text are recognised; add_special_tokens puts those around it
  // that the post-processor of tokenizer.json names ("truncation" and "padding" there are not applied).
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = true) const;
  // For text nobody vouches for: special tokens written in it are plain text, and none is added. Added tokens that are
  // not special (runs of blanks in GPT-NeoX, say) are still found: they are how such text is written.
  std::vector<int64_t> encode_plain(std::string_view text) const;
  Encoding encode_with_offsets(std::string_view text, bool add_special_tokens = true) const;

  // Ids that do not exist are passed over, as Hugging Face does; bytes that are no UTF-8 become U+FFFD.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens = false) const;
  std::string piece(int64_t id) const;  // the bytes the token stands for inside a text, perhaps part of a character
  std::string token(int64_t id) const;  // as the vocabulary writes it; empty if there is none
  std::optional<int64_t> id(std::string_view token) const;  // exact text of the vocabulary or of an added token
  int64_t vocab_size() const;                               // the highest id and one
  bool is_special(int64_t id) const;

  // tokenizer_config.json's bos_token, eos_token and pad_token.
  std::optional<int64_t> bos() const;
  std::optional<int64_t> eos() const;
  std::optional<int64_t> pad() const;
  // Ids that encode(text, true) puts before and after the text.
  const std::vector<int64_t>& added_before() const;
  const std::vector<int64_t>& added_after() const;
  bool adds_bos() const;  // the first of them is bos()
  // Raw Jinja: chat_template.jinja, else the config's "chat_template" (of several, the one named "default").
  const std::optional<std::string>& chat_template() const;

 private:
  explicit Tokenizer(std::shared_ptr<const text::TokenizerState> state);
  std::shared_ptr<const text::TokenizerState> state_;
};

}  // namespace introspect
