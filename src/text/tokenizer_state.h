// What a Tokenizer holds, and how it is put together from tokenizer.json.
#pragma once

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_file.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

struct TokenizerState {
  Vocabulary vocabulary;  // tokens of the model and added tokens
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<BpeModel> model;
  PostProcessor post_processor;
  Decoder decoder;

  std::optional<int64_t> bos, eos, pad;
  std::optional<std::string> chat_template;

  // Throws Error. `label` names the file.
  TokenizerState(std::string_view tokenizer_json, const std::string& label);
  TokenizerState(const TokenizerState&) = delete;
  TokenizerState& operator=(const TokenizerState&) = delete;
  void read_config(std::string_view config_json, const std::string& label);

  // The token as its decoder takes it: an added token in its normalized form, as Hugging Face's since 0.23.
  std::string_view text_for_decoder(int64_t id) const;

  // Workspaces that no thread uses at the moment.
  std::unique_ptr<BpeWorkspace> take_workspace() const;
  void give_workspace(std::unique_ptr<BpeWorkspace> workspace) const;

 private:
  void read_model(TokenizerFile& file);
  void read_added_tokens(const Part& root);
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<BpeWorkspace>> free_workspaces_;
};

}  // namespace introspect::text
