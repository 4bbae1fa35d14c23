// The reader of tokenizer.json and the tokenizers that come out of it, under mutated input.
#include "base/error.h"
#include "fuzz/fuzz.h"
#include "text/pattern.h"
#include "text/small_tokenizers.h"

#include <stdexcept>

#include <gtest/gtest.h>

namespace introspect {
namespace {

void expect_clean(const FuzzResult& result, size_t seeds) {
  EXPECT_EQ(result.failure, "");
  EXPECT_GE(result.accepted, static_cast<int64_t>(seeds));
  ::testing::Test::RecordProperty("runs", std::to_string(result.runs));
  ::testing::Test::RecordProperty("accepted", std::to_string(result.accepted));
}

// Opens the file; if it is taken, encodes and decodes, and checks what must hold for every tokenizer.
void use_tokenizer(std::string_view json) {
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  for (const char* text :
       {"", "ab abcd z", "The quick fox's 12345 \u4e2d\u6587 e\u0301 <s>x</s> <|eos|>\n\n ", "\xFF\xE4\xB8"}) {
    const Encoding encoding = tokenizer.encode_with_offsets(text);
    const std::vector<int64_t> ids = tokenizer.encode(text);
    if (encoding.ids != ids || encoding.offsets.size() != ids.size()) throw std::logic_error("other ids with offsets");
    for (const auto& [begin, end] : encoding.offsets) {
      if (begin > end || end > std::string_view(text).size()) throw std::logic_error("an offset outside of the text");
    }
    for (const int64_t id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) throw std::logic_error("an id outside of the vocabulary");
      tokenizer.piece(id);
    }
    tokenizer.encode_plain(text);
    tokenizer.decode(ids);
    tokenizer.decode(ids, true);
  }
}

std::vector<std::string> seeds_of_tokenizers() {
  TestJson small = metaspace_json(), other = metaspace_json(), more = metaspace_json();
  // small files, so that most mutations hit something that matters
  small["model"] = TestJson::parse(R"({"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,
      "vocab":{"<unk>":0,"<s>":1,"</s>":2,"a":3,"b":4,"ab":5,"\u2581":6,"<0x41>":7},"merges":["a b"]})");
  other["model"] = small["model"];
  other["normalizer"] = TestJson::parse(R"({"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"},
      {"type":"Strip","strip_left":true,"strip_right":false},{"type":"Replace","pattern":{"Regex":"[a-c]+x?"},"content":"ab"}]})");
  other["pre_tokenizer"] =
      TestJson::parse(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
      {"type":"Split","pattern":{"Regex":"\\s+|\\p{N}{1,3}+"},"behavior":"MergedWithNext","invert":false},
      {"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true}]})");
  other["post_processor"] =
      TestJson::parse(R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
      {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}})");
  more["model"] = small["model"];
  more["model"]["merges"] = TestJson::parse(R"([["a","b"]])");
  more["added_tokens"][0]["lstrip"] = more["added_tokens"][1]["rstrip"] = more["added_tokens"][2]["single_word"] = true;
  more["added_tokens"][1]["normalized"] = true;
  more["pre_tokenizer"] =
      TestJson::parse(R"({"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},
      {"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]})");
  more["decoder"] = TestJson::parse(R"({"type":"ByteLevel"})");
  return {small.dump(), other.dump(), more.dump(), byte_level_json().dump()};
}

TEST(Fuzz, TokenizerJson) {
  const auto seeds = seeds_of_tokenizers();
  expect_clean(run_fuzzer("tokenizer", seeds, fuzz_seconds(), use_tokenizer), seeds.size());
}

TEST(Fuzz, RegularExpressions) {
  const std::vector<std::string> seeds = {
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)",
      "[\\w\\S]+|\\bx{,3}+(?:a|b){2}+", "\\u4e2d[[:alpha:]\\h]", "(?<=a)b(?=c)\\1"};
  const auto use = [](std::string_view expression) {
    std::vector<text::Range> matches;
    text::Pattern::regex(expression, "fuzz").find_all("The quick fox's 12345 \u4e2d\u6587 e\u0301\n\n aab", matches);
    size_t last = 0;
    for (const text::Range& match : matches) {
      if (match.begin > match.end || match.begin < last) throw std::logic_error("matches overlap");
      last = match.end;
    }
  };
  // the last seed names a group that is not there, and is refused
  expect_clean(run_fuzzer("regex", seeds, fuzz_seconds(), use), seeds.size() - 1);
}

}  // namespace
}  // namespace introspect
