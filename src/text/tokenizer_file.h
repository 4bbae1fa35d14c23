// Reading tokenizer.json: vocabulary and merges go straight into flat tables, the rest becomes JSON.
#pragma once

#include "text/vocabulary.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace introspect::text {

// The pairs of "model.merges", in order. Their texts lie one behind the other in one string.
class MergeList {
 public:
  void add(std::string_view left, std::string_view right);
  size_t size() const { return ends_.size(); }
  std::pair<std::string_view, std::string_view> operator[](size_t index) const;

 private:
  std::string bytes_;
  std::vector<std::pair<size_t, size_t>> ends_;
};

struct TokenizerFile {
  std::string label;  // the path, for errors
  Vocabulary vocabulary;
  MergeList merges;
  bool has_vocabulary = false, has_merges = false;

  TokenizerFile();
  ~TokenizerFile();
  TokenizerFile(TokenizerFile&&) noexcept;
  const nlohmann::json& rest() const { return *rest_; }  // everything else

 private:
  friend TokenizerFile read_tokenizer_file(std::string_view, const std::string&);
  std::unique_ptr<nlohmann::json> rest_;
};

// Throws Error for what is no JSON, for tokens or ids that occur twice, and for ids that are no integers in
// [0, kHighestId].
TokenizerFile read_tokenizer_file(std::string_view text, const std::string& label);

}  // namespace introspect::text
