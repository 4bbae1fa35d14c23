#include "text/tokenizer_state.h"

#include "base/error.h"

#include <nlohmann/json.hpp>

namespace introspect::text {

namespace {

MergeTable resolve_merges(const TokenizerFile& file) {
  const Vocabulary& vocabulary = file.vocabulary;
  MergeTable table(file.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < file.merges.size(); ++rank) {
    const auto [left, right] = file.merges[rank];
    joined.assign(left).append(right);
    const int32_t left_id = vocabulary.find(left), right_id = vocabulary.find(right), result = vocabulary.find(joined);
    if (left_id < 0 || right_id < 0 || result < 0) {
      fail("tokenizer", fmt::format("model.merges[{}]: \"{}\" is not in model.vocab ({})", rank,
                                    left_id < 0    ? left
                                    : right_id < 0 ? right
                                                   : std::string_view(joined),
                                    file.label));
    }
    if (left.empty() || right.empty()) fail("tokenizer", fmt::format("model.merges[{}]: empty ({})", rank, file.label));
    table.set(left_id, right_id, static_cast<uint32_t>(rank), result);
  }
  return table;
}

}  // namespace

TokenizerState::TokenizerState(std::string_view tokenizer_json, const std::string& label) {
  TokenizerFile file = read_tokenizer_file(tokenizer_json, label);
  const Part root(file.rest(), "", label);
  if (const auto part = root.object("normalizer")) normalizer = Normalizer(*part);
  if (const auto part = root.object("pre_tokenizer")) pre_tokenizer = PreTokenizer(*part);
  if (const auto part = root.object("decoder")) decoder = Decoder(*part);
  read_model(file);
  if (root.has("added_tokens")) read_added_tokens(root);
  if (const auto part = root.object("post_processor")) {
    post_processor = PostProcessor(*part, [this](int64_t id) { return vocabulary.contains(id); });
  }
}

void TokenizerState::read_model(TokenizerFile& file) {
  const Part root(file.rest(), "", file.label);
  const auto part = root.object("model");
  if (!part) root.reject("there is no \"model\"");
  // files of the first years do not name the type
  if (part->has("type") && part->type() != "BPE") part->unknown_type("BPE");
  if (!file.has_vocabulary || file.vocabulary.count() == 0) part->reject("expected \"vocab\": {token: id, ...}");
  if (!file.has_merges) part->reject("expected \"merges\": an array");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!part->text_or(key, "").empty()) part->reject(std::string(key) + " is not supported");
  }
  if (part->has("dropout") && part->json()["dropout"] != 0.0) part->reject("dropout is not supported");
  BpeSettings settings;
  settings.unknown_token = part->text_or("unk_token", "");
  settings.fuse_unknown = part->flag_or("fuse_unk", false);
  settings.byte_fallback = part->flag_or("byte_fallback", false);
  settings.ignore_merges = part->flag_or("ignore_merges", false);

  MergeTable merges = resolve_merges(file);
  vocabulary = std::move(file.vocabulary);
  const bool byte_level = pre_tokenizer.ends_in_byte_level() && BpeModel::has_alphabet(vocabulary);
  pre_tokenizer.keep_alphabet(!byte_level);
  model.emplace(vocabulary, std::move(merges), std::move(settings), byte_level);
}

void TokenizerState::read_added_tokens(const Part& root) {
  for (const Part& part : root.list("added_tokens")) {
    AddedToken token;
    token.content = part.text("content");
    const int64_t id = part.integer("id");
    if (id < 0 || id > kHighestId) {
      part.reject(fmt::format("id: got {}, expected 0 to {}", id, kHighestId));
    }
    token.id = static_cast<int32_t>(id);
    token.single_word = part.flag_or("single_word", false);
    token.strip_left = part.flag_or("lstrip", false);
    token.strip_right = part.flag_or("rstrip", false);
    token.special = part.flag_or("special", false);
    token.normalized = part.flag_or("normalized", !token.special);
    if (token.content.empty()) continue;  // Hugging Face's passes over them too
    switch (vocabulary.add(token.content, token.id)) {
      case Vocabulary::Added::text_taken:
        part.reject(
            fmt::format("\"{}\" has id {} here and {} elsewhere", token.content, id, vocabulary.find(token.content)));
      case Vocabulary::Added::id_taken:
        part.reject(fmt::format("id {} is that of \"{}\" already", id, vocabulary.token(id)));
      default:
        added.add(std::move(token));
    }
  }
  for (size_t i = 0; i < added.tokens().size(); ++i) {
    if (!added.tokens()[i].normalized || normalizer.empty()) continue;
    auto form = AlignedText::original(added.tokens()[i].content, 0, false);
    normalizer.apply(form);
    added.add_normalized_form(i, form.text);
  }
  added.finish();
}

void TokenizerState::read_config(std::string_view config_json, const std::string& label) {
  nlohmann::json config;
  try {
    config = nlohmann::json::parse(config_json.begin(), config_json.end());
  } catch (const nlohmann::json::exception& error) {
    fail("tokenizer", fmt::format("no valid JSON: {} ({})", error.what(), label));
  }
  const Part root(config, "", label);
  // a string, or an added token written out: {"content": "<s>", ...}
  const auto named = [&](const std::string& key) -> std::optional<int64_t> {
    if (!root.has(key)) return std::nullopt;
    const std::string token = config[key].is_object() ? root.object(key)->text("content") : root.text(key);
    const int32_t id = vocabulary.find(token);
    return id < 0 ? std::nullopt : std::optional<int64_t>(id);
  };
  bos = named("bos_token");
  eos = named("eos_token");
  pad = named("pad_token");
  if (!root.has("chat_template")) return;
  if (!config["chat_template"].is_array()) {
    chat_template = root.text("chat_template");
    return;
  }
  for (const Part& each : root.list("chat_template")) {
    if (!chat_template || each.text("name") == "default") chat_template = each.text("template");
  }
}

std::string_view TokenizerState::text_for_decoder(int64_t id) const {
  const std::string* form = added.decoded_form(id);
  return form != nullptr ? std::string_view(*form) : vocabulary.token(id);
}

std::unique_ptr<BpeWorkspace> TokenizerState::take_workspace() const {
  const std::lock_guard lock(mutex_);
  if (free_workspaces_.empty()) return std::make_unique<BpeWorkspace>();
  auto workspace = std::move(free_workspaces_.back());
  free_workspaces_.pop_back();
  return workspace;
}

void TokenizerState::give_workspace(std::unique_ptr<BpeWorkspace> workspace) const {
  const std::lock_guard lock(mutex_);
  free_workspaces_.push_back(std::move(workspace));
}

}  // namespace introspect::text
