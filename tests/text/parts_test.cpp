// The parts of tokenizer.json one by one. What is expected here was taken from Hugging Face's library.
#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pre_tokenizer.h"
#include "text/small_tokenizers.h"
#include "text/utf8.h"

#include <gtest/gtest.h>

namespace introspect::text {
namespace {

using Texts = std::vector<std::string>;

Texts pieces_of(const char* json, std::string_view text, bool at_start = true) {
  const auto value = nlohmann::json::parse(json);
  const PreTokenizer pre_tokenizer(Part(value, "pre_tokenizer", "test"));
  Pieces pieces{AlignedText::original(text, 0, true), {{0, text.size()}}, at_start};
  pre_tokenizer.apply(pieces);
  Texts texts;
  for (const Range& range : pieces.ranges) texts.push_back(pieces.whole.text.substr(range.begin, range.size()));
  return texts;
}

std::string normalized(const char* json, std::string_view text) {
  const auto value = nlohmann::json::parse(json);
  auto aligned = AlignedText::original(text, 0, true);
  Normalizer(Part(value, "normalizer", "test")).apply(aligned);
  EXPECT_EQ(aligned.source.size(), aligned.text.size());
  for (const Range& range : aligned.source) EXPECT_LE(range.end, text.size());
  auto untracked = AlignedText::original(text, 0, false);
  Normalizer(Part(value, "normalizer", "test")).apply(untracked);
  EXPECT_EQ(untracked.text, aligned.text);
  return aligned.text;
}

std::string decoded(const char* json, Texts tokens) {
  const auto value = nlohmann::json::parse(json);
  return Decoder(Part(value, "decoder", "test")).decode(std::move(tokens));
}

Texts matches_of(const char* expression, std::string_view text) {
  std::vector<Range> matches;
  Pattern::regex(expression, "test").find_all(text, matches);
  Texts texts;
  for (const Range& match : matches) texts.emplace_back(text.substr(match.begin, match.size()));
  return texts;
}

TEST(PreTokenizer, SplitsAsTheBehaviorSays) {
  const auto split = [](const char* behavior, bool invert) {
    return fmt::format(R"({{"type":"Split","pattern":{{"String":"-"}},"behavior":"{}","invert":{}}})", behavior,
                       invert);
  };
  const std::string text = "the-final--countdown";
  EXPECT_EQ(pieces_of(split("Removed", false).c_str(), text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(pieces_of(split("Isolated", false).c_str(), text), (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(pieces_of(split("MergedWithPrevious", false).c_str(), text), (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(pieces_of(split("MergedWithNext", false).c_str(), text), (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(pieces_of(split("Contiguous", false).c_str(), text), (Texts{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(pieces_of(split("Removed", true).c_str(), text), (Texts{"-", "-", "-"}));
}

TEST(PreTokenizer, Digits) {
  EXPECT_EQ(pieces_of(R"({"type":"Digits","individual_digits":true})", "a12\u00bd b"),
            (Texts{"a", "1", "2", "\u00bd", " b"}));
  EXPECT_EQ(pieces_of(R"({"type":"Digits","individual_digits":false})", "a12\u00bd b"), (Texts{"a", "12\u00bd", " b"}));
}

TEST(PreTokenizer, ByteLevelIsLeftToTheModelUnlessSomethingFollows) {
  EXPECT_EQ(pieces_of(R"({"type":"ByteLevel","add_prefix_space":true})", "it's  me"), (Texts{" it", "'s", " ", " me"}));
  EXPECT_EQ(pieces_of(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "a b"), (Texts{"a b"}));
  EXPECT_EQ(pieces_of(R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false},
                          {"type":"Digits","individual_digits":true}]})",
                      "a 12"),
            (Texts{"a", "\u0120", "1", "2"}));
}

TEST(PreTokenizer, Metaspace) {
  const char* always = R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})";
  const char* first = R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})";
  const char* never = R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never","split":false})";
  const char* older = R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})";
  EXPECT_EQ(pieces_of(always, "Hey  you"), (Texts{"_Hey", "_", "_you"}));
  EXPECT_EQ(pieces_of(always, " Hey", false), (Texts{"_Hey"}));
  EXPECT_EQ(pieces_of(first, "Hey", true), (Texts{"_Hey"}));
  EXPECT_EQ(pieces_of(first, "Hey", false), (Texts{"Hey"}));
  EXPECT_EQ(pieces_of(never, "Hey you"), (Texts{"Hey_you"}));
  EXPECT_EQ(pieces_of(older, "Hey you"), (Texts{"Hey", "_you"}));
}

TEST(PreTokenizer, WhitespaceAndPunctuation) {
  EXPECT_EQ(pieces_of(R"({"type":"Whitespace"})", "Hey, man! \u2167"), (Texts{"Hey", ",", "man", "!", "\u2167"}));
  EXPECT_EQ(pieces_of(R"({"type":"WhitespaceSplit"})", "Hey,\u3000man!"), (Texts{"Hey,", "man!"}));
  EXPECT_EQ(pieces_of(R"({"type":"Punctuation"})", "a,b\u3002"), (Texts{"a", ",", "b", "\u3002"}));
  EXPECT_EQ(pieces_of(R"({"type":"CharDelimiterSplit","delimiter":"x"})", "axxb"), (Texts{"a", "b"}));
}

TEST(Normalizers, DoWhatTheirNamesSay) {
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "xe\u0301 \u1112\u1161\u11ab!"), "x\u00e9 \ud55c!");
  EXPECT_EQ(normalized(R"({"type":"NFD"})", "\u00e9"), "e\u0301");
  EXPECT_EQ(normalized(R"({"type":"NFKC"})", "\ufb01 \u2460 \uff21"), "fi 1 A");
  EXPECT_EQ(normalized(R"({"type":"NFKD"})", "\u1e9b\u0323"), "s\u0323\u0307");
  EXPECT_EQ(normalized(R"({"type":"Lowercase"})", "\u0130A\u1e9e\u03a3"), "i\u0307a\u00df\u03c3");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " \u3000a "), "a ");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", "  "), "");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", "a"), "_a");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", ""), "");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"\\s{2,}"},"content":" "})", "a \n b c"), "a b c");
}

TEST(Normalizers, AgreeWithWholeTextForms) {
  Random random(4, "unicode forms");
  for (int i = 0; i < 300; ++i) {
    const std::string text = introspect::random_text(random, 30);
    const std::string decomposed = normalized(R"({"type":"NFD"})", text);
    EXPECT_EQ(normalized(R"({"type":"NFC"})", decomposed), normalized(R"({"type":"NFC"})", text));
    EXPECT_EQ(normalized(R"({"type":"NFD"})", decomposed), decomposed);
  }
}

TEST(Decoders, DoWhatTheirNamesSay) {
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"\u0120a", "\u00e4\u00b8\u0143"}), " a\u4e2d");
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"a b"}), "a b");
  EXPECT_EQ(decoded(R"({"type":"ByteFallback"})", {"<0xE4>", "<0xB8>", "<0xAD>", "x"}), "\u4e2dx");
  EXPECT_EQ(decoded(R"({"type":"ByteFallback"})", {"<0xE4>", "<0xB8>", "x", "<0xG0>"}), "\ufffd\ufffdx<0xG0>");
  EXPECT_EQ(decoded(R"({"type":"Strip","content":"_","start":1,"stop":2})", {"__a___", "b"}), "_a_b");
  EXPECT_EQ(decoded(R"({"type":"Strip","content":"_","start":9,"stop":9})", {"__"}), "");
  EXPECT_EQ(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", {"_a_b", "_c"}), "ab c");
  EXPECT_EQ(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", {"_a"}), " a");
  EXPECT_EQ(Decoder().decode({"a", "b"}), "a b");
}

TEST(Patterns, MeanWhatTheyMeanInOniguruma) {
  EXPECT_EQ(matches_of("\\s+", "a\u180e \u0085\u3000b"), (Texts{" \u0085\u3000"}));  // U+180E is no white space
  EXPECT_EQ(matches_of("[^\\S\\n]+", " \n\u3000a"), (Texts{" ", "\u3000"}));
  EXPECT_EQ(matches_of("\\w+", "na\u0308ive_\u2167-\u24d0"), (Texts{"na\u0308ive_\u2167", "\u24d0"}));
  EXPECT_EQ(matches_of("\\bx", "x \u2167x"), (Texts{"x"}));
  EXPECT_EQ(matches_of("\\p{N}{1,3}+", "12345"), (Texts{"12345"}));  // not possessive in Ruby's syntax
  EXPECT_EQ(matches_of("(?:ab|c){1,2}+", "abcab"), (Texts{"abcab"}));
  EXPECT_EQ(matches_of("a{,2}b", "aaab"), (Texts{"aab"}));
  EXPECT_EQ(matches_of("\\h+", "xFFy0"), (Texts{"FF", "0"}));
  EXPECT_EQ(matches_of("\\u4e2d|\\x{e9}", "\u00e9\u4e2d"), (Texts{"\u00e9", "\u4e2d"}));
  EXPECT_EQ(matches_of("^.", "ab\ncd"), (Texts{"a", "c"}));
  EXPECT_EQ(matches_of("[[:alpha:]]+", "a\u00e91"), (Texts{"a\u00e9"}));
  EXPECT_EQ(matches_of(" ?[^(\\s|[.,!?])]+", "ab, (c)"),
            (Texts{"ab", "c"}));  // BLOOM: the inner class is part of the outer
  EXPECT_EQ(matches_of("(?i:'s)", "'S'\u017f"), (Texts{"'S", "'\u017f"}));
  EXPECT_EQ(matches_of("x*", "axb").size(), 3);  // empty before a, "x", empty at the end; none right behind "x"
}

TEST(Utf8, FollowsTheTableOfWellFormedBytes) {
  for (const char* good : {"", "a", "\u00e9", "\u4e2d", "\U0010ffff", "\ud7ff", "\ue000"})
    EXPECT_TRUE(is_valid_utf8(good));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5", "\xE4\xB8", "12345678\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad)) << bad;
    EXPECT_TRUE(is_valid_utf8(replace_invalid_utf8(bad)));
  }
  for (uint32_t code = 0; code < 0x110000; code += 7) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_code_point(text, code);
    const Character character = first_character(text);
    ASSERT_TRUE(character.valid);
    ASSERT_EQ(character.code_point, code);
    ASSERT_EQ(character.length, text.size());
  }
}

// Long words go through a heap, short ones through a scan: both must do what counting by hand does.
TEST(Bpe, MergesTheLowestRankFirstAndTheLeftmostOfEquals) {
  Vocabulary vocabulary;
  Texts tokens = {"a", "b", "c"};
  Random random(5, "merges");
  std::vector<std::pair<int32_t, int32_t>> merges;
  while (merges.size() < 60) {
    const auto left = static_cast<int32_t>(random.below(tokens.size())),
               right = static_cast<int32_t>(random.below(tokens.size()));
    const std::string joined = tokens[left] + tokens[right];
    if (joined.size() > 9 || std::count(tokens.begin(), tokens.end(), joined) > 0) continue;
    merges.emplace_back(left, right);
    tokens.push_back(joined);
  }
  for (size_t i = 0; i < tokens.size(); ++i) vocabulary.add(tokens[i], static_cast<int32_t>(i));
  MergeTable table(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    table.set(merges[rank].first, merges[rank].second, static_cast<uint32_t>(rank), static_cast<int32_t>(3 + rank));
  }
  const BpeModel model(vocabulary, table, {}, false);
  BpeWorkspace workspace;
  for (const size_t length : {1, 2, 7, 30, 39, 40, 41, 42, 90, 400}) {
    for (int i = 0; i < 20; ++i) {
      std::string word;
      std::vector<int64_t> wanted, got;
      while (word.size() < length) word += static_cast<char>('a' + random.below(3));
      for (const char letter : word) wanted.push_back(letter - 'a');
      for (bool merged = true; merged;) {
        merged = false;
        for (size_t rank = 0; rank < merges.size() && !merged; ++rank) {
          for (size_t at = 0; at + 1 < wanted.size() && !merged; ++at) {
            if (wanted[at] != merges[rank].first || wanted[at + 1] != merges[rank].second) continue;
            wanted[at] = static_cast<int64_t>(3 + rank);
            wanted.erase(wanted.begin() + static_cast<std::ptrdiff_t>(at) + 1);
            merged = true;
          }
        }
      }
      for (int again = 0; again < 2; ++again) {  // the second time from memory
        got.clear();
        model.encode(word, workspace, got);
        ASSERT_EQ(got, wanted) << word;
      }
    }
  }
}

}  // namespace
}  // namespace introspect::text
