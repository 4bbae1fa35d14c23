// The tokenizer as its users see it, on small tokenizers made here.
#include "text/tokenizer.h"

#include "base/error.h"
#include "text/small_tokenizers.h"
#include "text/utf8.h"

#include <fstream>
#include <thread>

#include <gtest/gtest.h>

namespace introspect {
namespace {

using Ids = std::vector<int64_t>;
using Places = std::vector<std::pair<size_t, size_t>>;

TEST(ByteLevel, ReturnsEveryTextUnchanged) {
  const Tokenizer tokenizer = opened(byte_level_json());
  Random random(1, "round trip");
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random, i % 100 == 0 ? 500 : 40);
    ASSERT_TRUE(text::is_valid_utf8(text));
    const Ids ids = tokenizer.encode_plain(text);
    ASSERT_EQ(tokenizer.decode(ids), text);
    std::string pieces;
    for (const int64_t id : ids) pieces += tokenizer.piece(id);
    ASSERT_EQ(pieces, text);
  }
}

TEST(ByteLevel, OffsetsCoverTheTextAndAreThePieces) {
  const Tokenizer tokenizer = opened(byte_level_json());
  Random random(2, "offsets");
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(random, 60);
    const Encoding encoding = tokenizer.encode_with_offsets(text, false);
    ASSERT_EQ(encoding.ids, tokenizer.encode(text, false));
    size_t end = 0;
    for (size_t t = 0; t < encoding.ids.size(); ++t) {
      ASSERT_EQ(encoding.offsets[t].first, end);
      end = encoding.offsets[t].second;
      ASSERT_EQ(tokenizer.piece(encoding.ids[t]),
                text.substr(encoding.offsets[t].first, end - encoding.offsets[t].first));
    }
    ASSERT_EQ(end, text.size());
  }
}

TEST(ByteLevel, FindsWhichTokenEndsASubject) {
  const Tokenizer tokenizer = opened(byte_level_json());
  const std::string prompt = "The capital of France is";
  const Encoding encoding = tokenizer.encode_with_offsets(prompt, true);
  ASSERT_EQ(encoding.ids.front(), 338);
  EXPECT_EQ(encoding.offsets.front(), (std::pair<size_t, size_t>{0, 0}));
  const size_t end = prompt.find(" is");
  size_t count = 0;
  for (const auto& place : encoding.offsets) count += place.second == end;
  EXPECT_EQ(count, 1);
}

TEST(SpecialTokens, AreRecognisedUnlessTheTextIsPlain) {
  const Tokenizer tokenizer = opened(byte_level_json());
  EXPECT_EQ(tokenizer.encode("<|eos|>", true), (Ids{338, 339}));
  EXPECT_EQ(tokenizer.encode("<|eos|>", false), (Ids{339}));
  for (const int64_t id : tokenizer.encode_plain("a <|eos|><|bos|> b")) EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode_plain("<|eos|>"), true), "<|eos|>");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a<|eos|>b"), true), "ab");
  EXPECT_EQ(tokenizer.encode("", true), (Ids{338}));
  EXPECT_EQ(tokenizer.encode("", false), Ids{});
}

TEST(SpecialTokens, TakeWhiteSpaceAndStandAlone) {
  TestJson json = byte_level_json();
  json["added_tokens"][1]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  EXPECT_EQ(opened(json).encode("a \n<|eos|>  b", false).size(), 3);
  EXPECT_EQ(opened(json).encode_with_offsets("a \n<|eos|>  b", false).offsets, (Places{{0, 1}, {1, 12}, {12, 13}}));
  TestJson word = byte_level_json();
  word["added_tokens"][1]["content"] = "fox";
  word["added_tokens"][1]["single_word"] = true;
  const Tokenizer tokenizer = opened(word);
  const auto found = [&](std::string_view text) {
    const Ids ids = tokenizer.encode(text, false);
    return std::count(ids.begin(), ids.end(), 339);
  };
  EXPECT_EQ(found("fox"), 1);
  EXPECT_EQ(found("a fox, fox"), 2);
  EXPECT_EQ(found("foxes"), 0);
  EXPECT_EQ(found("\u00e9fox"), 0);
}

TEST(SpecialTokens, LongestIsTaken) {
  TestJson json = byte_level_json();
  TestJson longer = json["added_tokens"][1];
  longer["content"] = "<|eos|>>";
  longer["id"] = 340;
  json["added_tokens"].push_back(longer);
  EXPECT_EQ(opened(json).encode("<|eos|>>", false), (Ids{340}));
  EXPECT_EQ(opened(json).encode("<|eos|><|eos|>>", false), (Ids{339, 340}));
}

TEST(InvalidUtf8, IsReadAsReplacementCharacters) {
  const Tokenizer tokenizer = opened(byte_level_json());
  EXPECT_EQ(tokenizer.encode_plain("a\xFFz"), tokenizer.encode_plain("a\uFFFDz"));
  EXPECT_EQ(tokenizer.encode_plain("\xE4\xB8"), tokenizer.encode_plain("\uFFFD"));
  EXPECT_EQ(tokenizer.encode_plain("\xED\xA0\x80"), tokenizer.encode_plain("\uFFFD\uFFFD\uFFFD"));
  EXPECT_EQ(tokenizer.encode_plain("\xF0\x9F\x98!"), tokenizer.encode_plain("\uFFFD!"));
  const std::string broken = "ab\xE4\xB8 the\xFF";
  const Encoding encoding = tokenizer.encode_with_offsets(broken, false);
  ASSERT_EQ(encoding.ids, tokenizer.encode(broken, false));
  for (const auto& [begin, end] : encoding.offsets) {
    EXPECT_LE(begin, end);
    EXPECT_LE(end, broken.size());
  }
  EXPECT_EQ(encoding.offsets.back().second, broken.size());
}

TEST(Decode, CutsOfCharactersBecomeReplacementCharacters) {
  const Tokenizer tokenizer = opened(byte_level_json());
  const int64_t byte = *tokenizer.id("\u0142");  // the letter of byte 0xA0 in GPT-2's alphabet
  EXPECT_EQ(tokenizer.piece(byte), "\xA0");
  EXPECT_EQ(tokenizer.decode({byte}), "\uFFFD");
  EXPECT_EQ(tokenizer.decode({-1, 5000, 1LL << 40}), "");
}

TEST(Metaspace, EncodesWordsBytesAndUnknowns) {
  const Tokenizer tokenizer = opened(metaspace_json());
  const int64_t word = *tokenizer.id("\u2581ab"), cd = *tokenizer.id("cd");
  EXPECT_EQ(tokenizer.encode("ab ab", false), (Ids{word, word}));
  EXPECT_EQ(tokenizer.encode("abcd", false), (Ids{word, cd}));
  EXPECT_EQ(tokenizer.encode("z", false), (Ids{*tokenizer.id("\u2581"), 3 + 'z'}));
  EXPECT_EQ(tokenizer.encode("", false), Ids{});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" ab z\u4e2d", false)), " ab z\u4e2d");
  EXPECT_EQ(tokenizer.decode({3 + 0xE4, 3 + 0xB8}), "\uFFFD\uFFFD");
  EXPECT_EQ(tokenizer.piece(word), " ab");
  EXPECT_EQ(tokenizer.piece(3 + '\n'), "\n");
}

TEST(Metaspace, OffsetsPointIntoTheTextGiven) {
  const Tokenizer tokenizer = opened(metaspace_json());
  EXPECT_EQ(tokenizer.encode_with_offsets("ab abe", false).offsets, (Places{{0, 2}, {2, 5}, {5, 6}}));
  EXPECT_EQ(tokenizer.encode_with_offsets("a\u4e2d", false).offsets, (Places{{0, 1}, {0, 1}, {1, 2}, {2, 3}, {3, 4}}));
}

TEST(Normalizer, OffsetsOfComposedCharactersHoldTheirParts) {
  TestJson json = metaspace_json();
  json["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = opened(json);
  const Encoding encoding = tokenizer.encode_with_offsets("ae\u0301b", false);
  EXPECT_EQ(encoding.ids, (Ids{*tokenizer.id("a"), *tokenizer.id("\u00e9"), *tokenizer.id("b")}));
  EXPECT_EQ(encoding.offsets, (Places{{0, 1}, {1, 4}, {4, 5}}));
}

TEST(Threads, GiveTheSameIds) {
  const Tokenizer tokenizer = opened(byte_level_json());
  std::vector<std::string> texts;
  std::vector<Ids> wanted;
  Random random(3, "threads");
  for (int i = 0; i < 200; ++i) {
    texts.push_back(random_text(random, 80));
    wanted.push_back(tokenizer.encode(texts.back()));
  }
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < texts.size(); ++i) wrong[t] += tokenizer.encode(texts[i]) != wanted[i];
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::vector<int>{0, 0, 0, 0}));
}

TEST(Configuration, NamesBosEosPadAndTheTemplate) {
  const TestJson config = {
      {"bos_token", "<|bos|>"},
      {"eos_token", {{"content", "<|eos|>"}, {"lstrip", false}}},
      {"pad_token", "<|not there|>"},
      {"chat_template", {{{"name", "tool_use"}, {"template", "T"}}, {{"name", "default"}, {"template", "D"}}}}};
  const Tokenizer tokenizer = opened(byte_level_json(), config);
  EXPECT_EQ(tokenizer.bos(), 338);
  EXPECT_EQ(tokenizer.eos(), 339);
  EXPECT_EQ(tokenizer.pad(), std::nullopt);
  EXPECT_EQ(tokenizer.chat_template(), "D");
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.added_before(), (Ids{338}));
  EXPECT_THROW(opened(byte_level_json(), {{"bos_token", 5}}), Error);
  EXPECT_THROW(opened(byte_level_json(), {{"eos_token", {{"text", "x"}}}}), Error);
}

TEST(Folder, ReadsTheTemplateFile) {
  const fs::path folder = fs::path(testing::TempDir()) / "tokenizer_folder";
  fs::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << byte_level_json().dump();
  EXPECT_EQ(Tokenizer::open(folder).chat_template(), std::nullopt);
  EXPECT_EQ(Tokenizer::from_file(folder / "tokenizer.json").vocab_size(), 340);
  std::ofstream(folder / "tokenizer_config.json") << R"({"chat_template": "old", "bos_token": null})";
  EXPECT_EQ(Tokenizer::open(folder).chat_template(), "old");
  std::ofstream(folder / "chat_template.jinja") << "new";
  EXPECT_EQ(Tokenizer::open(folder).chat_template(), "new");
  fs::remove_all(folder);
  EXPECT_THROW(Tokenizer::open(folder), Error);
}

}  // namespace
}  // namespace introspect
