// Small tokenizers that the tests of this folder make for themselves.
#pragma once

#include "base/random.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <string>

#include <nlohmann/json.hpp>

namespace introspect {

using TestJson = nlohmann::ordered_json;

// tokenizer.json of a byte-level tokenizer with 340 tokens; <|bos|> is 338, <|eos|> is 339.
inline TestJson byte_level_json() {
  BpeTrainSettings settings;
  settings.vocab_size = 340;
  settings.special_tokens = {"<|bos|>", "<|eos|>"};
  settings.bos_token = "<|bos|>";
  settings.smallest_count = 1;
  BpeTrainer trainer(settings);
  trainer.add("The quick brown fox jumps over the lazy dog; it's 1234567 o'clock in the morning, they say. ", 20);
  trainer.add(
      "The capital of France is Paris, and the capital of Spain is Madrid.\n\tcaf\u00e9 na\u00efve \u4e2d\u6587 ", 20);
  trainer.train();
  return TestJson::parse(trainer.tokenizer_json());
}

// tokenizer.json of the Llama-2 kind: U+2581 before words, bytes for unknown characters.
// <unk> 0, <s> 1, </s> 2, bytes 3 to 258, then letters and merges.
inline TestJson metaspace_json() {
  TestJson vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  int next = 3;
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = next++;
  for (const char* token :
       {"\u2581", "a", "b", "c", "d", "e", "\u00e9", "ab", "\u2581ab", "cd", "\u2581\u2581", "abcd"}) {
    vocab[token] = next++;
  }
  const auto added = [](int id, const char* content) -> TestJson {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const TestJson prepend = {{"type", "Prepend"}, {"prepend", "\u2581"}};
  const TestJson to_metaspace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  const TestJson to_blank = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  const TestJson strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
  const TestJson bytes = {{"type", "ByteFallback"}}, fuse = {{"type", "Fuse"}};
  return {{"version", "1.0"},
          {"added_tokens", TestJson::array({added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")})},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", TestJson::array({prepend, to_metaspace})}}},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Sequence"}, {"decoders", TestJson::array({to_blank, bytes, fuse, strip})}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", TestJson::array({"a b", "\u2581 ab", "c d", "\u2581 \u2581", "ab cd"})}}}};
}

inline Tokenizer opened(const TestJson& json, const TestJson& config = nullptr) {
  return Tokenizer::from_json(json.dump(), config.is_null() ? "" : config.dump());
}

// Valid UTF-8 of up to `most` characters: ASCII, blanks, and anything else up to U+10FFFF.
inline std::string random_text(Random& random, uint64_t most) {
  std::string text;
  for (uint64_t i = 0, count = random.below(most + 1); i < count; ++i) {
    uint32_t code = 0;
    switch (random.below(6)) {
      case 0:
        code = static_cast<uint32_t>(random.below(0x110000));
        break;
      case 1:
        code = static_cast<uint32_t>(random.below(0x500));
        break;
      case 2:
        code = " \n\t\r  '"[random.below(7)];
        break;
      default:
        code = static_cast<uint32_t>(' ' + random.below(95));
    }
    if (code >= 0xD800 && code < 0xE000) code = 0x4E2D;
    if (code < 0x80) {
      text += static_cast<char>(code);
      continue;
    }
    const int tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text += static_cast<char>((0xFF00 >> (tails + 1) & 0xFF) | code >> (6 * tails));
    for (int tail = tails - 1; tail >= 0; --tail) text += static_cast<char>(0x80 | (code >> (6 * tail) & 0x3F));
  }
  return text;
}

}  // namespace introspect
