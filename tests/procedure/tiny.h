// A tokenizer, a model and facts small enough to check by hand.
#pragma once

#include "base/json.h"
#include "model/model.h"
#include "procedure/records.h"
#include "text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect::tiny {

// A folder of its own that goes with the test.
class Folder {
 public:
  Folder() {
    path_ = fs::temp_directory_path() / fmt::format("introspect-procedure-{}-{}", getpid(), next_++);
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return path_ / name;
  }

 private:
  static inline int next_ = 0;
  fs::path path_;
};

inline void append_character(std::string& text, int code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else {
    text += static_cast<char>(0xc0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// GPT-2's letters for bytes.
inline std::string byte_letters(const std::string& bytes) {
  std::string text;
  for (const char letter : bytes) {
    const int byte = static_cast<unsigned char>(letter);
    int shifted = 256;
    for (int other = 0; other < byte; ++other) {
      shifted += !((other >= '!' && other <= '~') || (other >= 0xa1 && other <= 0xac) || other >= 0xae);
    }
    const bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    append_character(text, itself ? byte : shifted);
  }
  return text;
}

// Byte-level: every byte is a token, and so is each of `words` (as the pre-tokenizer cuts them: " France", "\n\n").
// BOS is <s>, id 0.
inline Tokenizer tokenizer(const std::vector<std::string>& words, const std::string& config = {}) {
  Json vocab = {{"<s>", 0}};
  int next = 1;
  for (int byte = 0; byte < 256; ++byte) vocab[byte_letters(std::string(1, static_cast<char>(byte)))] = next++;
  for (const std::string& word : words) {
    const std::string letters = byte_letters(word);
    if (!vocab.contains(letters)) vocab[letters] = next++;
  }
  const Json special = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = Json::array({{{"id", 0},
                                       {"content", "<s>"},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false},
                                       {"special", true}}});
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = byte_level;
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", Json::array({special, sequence})},
                            {"pair", Json::array({special, sequence})},
                            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {0}}, {"tokens", {"<s>"}}}}}}};
  json["decoder"] = byte_level;
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", true},
                   {"vocab", vocab},
                   {"merges", Json::array()}};
  return Tokenizer::from_json(json.dump(), config);
}

inline ModelConfig config(int64_t layers, int64_t vocabulary, int64_t positions, const std::string& family) {
  if (family == "mamba" || family == "rwkv7") {
    Json json = {{"model_type", family},
                 {"vocab_size", vocabulary},
                 {"hidden_size", 32},
                 {"num_hidden_layers", layers},
                 {"tie_word_embeddings", false}};
    if (family == "rwkv7") {
      json["head_dim"] = 8;
      json["intermediate_size"] = 48;
      for (const char* rank : {"decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim"}) {
        json[rank] = 4;
      }
    }
    return parse_config(json, family);
  }
  ModelConfig config;
  config.family = family;
  config.vocab_size = vocabulary;
  config.d_model = 32;
  config.layers = layers;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.d_mlp = 48;
  config.max_positions = positions;
  config.tied_embeddings = false;  // else the next token is the last one again
  config.query_key_norm = family == "qwen3";
  return config;
}

// Weights are made large, so that a patch matters and mistakes show.
inline Model model(int64_t layers, int64_t vocabulary, int64_t positions, const std::string& family = "llama") {
  Model made = create_model(config(layers, vocabulary, positions, family), 7);
  at::NoGradGuard no_gradients;
  for (auto& [name, weight] : parameters(made)) {
    if (weight.dim() == 2 && name.ends_with("weight")) weight.mul_(name.find("embed") != std::string::npos ? 20 : 8);
  }
  return made;
}

inline FactTable facts() {
  FactTable table;
  const std::vector<std::string> capitals = {"Rome", "Oslo", "Lima", "Cairo", "Paris", "Quito"};
  Relation capital{"capital", "the capital", {"The capital of {subject} is", "{subject} is ruled from"}, {}};
  Relation sound{"sound", "the sound", {"The {subject} says"}, {}};
  for (int i = 0; i < 40; ++i)
    capital.facts.push_back({fmt::format("Land{}", i), capitals[static_cast<size_t>(i) % 6]});
  for (int i = 0; i < 30; ++i)
    sound.facts.push_back({fmt::format("beast{}", i), i % 3 == 0 ? "moo" : i % 3 == 1 ? "woof" : "baa"});
  table.relations = {capital, sound};
  return table;
}

}  // namespace introspect::tiny
