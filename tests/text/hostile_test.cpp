// Broken and hostile tokenizer.json: an Error that names the part, never a crash.
#include "base/error.h"
#include "text/small_tokenizers.h"
#include "text/tokenizer.h"

#include <functional>

#include <gtest/gtest.h>

namespace introspect {
namespace {

struct Broken {
  const char* name;
  std::function<void(TestJson&)> change;
  const char* message;  // a part of what the Error must say
};

TestJson split(const char* regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

TestJson nested(int depth, const char* list) {
  TestJson inner = {{"type", "NFC"}};
  for (int i = 0; i < depth; ++i) inner = {{"type", "Sequence"}, {list, TestJson::array({inner})}};
  return inner;
}

const Broken kBroken[] = {
    {"no model", [](TestJson& j) { j.erase("model"); }, "model"},
    {"model is text", [](TestJson& j) { j["model"] = "BPE"; }, "expected an object"},
    {"another model", [](TestJson& j) { j["model"]["type"] = "Unigram"; }, "Unigram"},
    {"no vocabulary", [](TestJson& j) { j["model"].erase("vocab"); }, "vocab"},
    {"vocabulary is a list", [](TestJson& j) { j["model"]["vocab"] = TestJson::array({"a"}); }, "vocab"},
    {"empty vocabulary", [](TestJson& j) { j["model"]["vocab"] = TestJson::object(); }, "vocab"},
    {"no merges", [](TestJson& j) { j["model"].erase("merges"); }, "merges"},
    {"merges are text", [](TestJson& j) { j["model"]["merges"] = "a b"; }, "merges"},
    {"merge without blank", [](TestJson& j) { j["model"]["merges"][0] = "ab"; }, "merges[0]"},
    {"merge with two blanks", [](TestJson& j) { j["model"]["merges"][2] = "a b c"; }, "merges[2]"},
    {"merge of three",
     [](TestJson& j) {
       j["model"]["merges"][0] = {"a", "b", "c"};
     },
     "merges[0]"},
    {"merge of one", [](TestJson& j) { j["model"]["merges"][1] = TestJson::array({"a"}); }, "merges[1]"},
    {"merge of numbers",
     [](TestJson& j) {
       j["model"]["merges"][0] = {1, 2};
     },
     "merges[0]"},
    {"merge of lists",
     [](TestJson& j) {
       j["model"]["merges"][0] = {{"a"}, {"b"}};
     },
     "merges[0]"},
    {"merge of unknown tokens", [](TestJson& j) { j["model"]["merges"][0] = "a \u4e2d"; }, "merges[0]"},
    {"merge with unknown result", [](TestJson& j) { j["model"]["merges"][0] = "b a"; }, "merges[0]"},
    {"merge of nothing",
     [](TestJson& j) {
       j["model"]["merges"][0] = {"", "a"};
     },
     "merges[0]"},
    {"negative id", [](TestJson& j) { j["model"]["vocab"]["a"] = -1; }, "\"a\""},
    {"huge id", [](TestJson& j) { j["model"]["vocab"]["a"] = 1ULL << 63; }, "\"a\""},
    {"large id", [](TestJson& j) { j["model"]["vocab"]["a"] = 100'000'000; }, "\"a\""},
    {"id is text", [](TestJson& j) { j["model"]["vocab"]["a"] = "7"; }, "vocab"},
    {"id is a number with a point", [](TestJson& j) { j["model"]["vocab"]["a"] = 7.5; }, "\"a\""},
    {"id is an object", [](TestJson& j) { j["model"]["vocab"]["a"] = TestJson::object(); }, "\"a\""},
    {"id twice", [](TestJson& j) { j["model"]["vocab"]["a"] = j["model"]["vocab"]["b"]; }, "belongs to both"},
    {"unknown token is unknown", [](TestJson& j) { j["model"]["unk_token"] = "<none>"; }, "unk_token"},
    {"unknown token is a number", [](TestJson& j) { j["model"]["unk_token"] = 0; }, "unk_token"},
    {"flag is text", [](TestJson& j) { j["model"]["byte_fallback"] = "yes"; }, "byte_fallback"},
    {"prefix", [](TestJson& j) { j["model"]["continuing_subword_prefix"] = "##"; }, "continuing_subword_prefix"},
    {"suffix", [](TestJson& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
    {"dropout", [](TestJson& j) { j["model"]["dropout"] = 0.1; }, "dropout"},
    {"added tokens are an object", [](TestJson& j) { j["added_tokens"] = TestJson::object(); }, "added_tokens"},
    {"added token is a number", [](TestJson& j) { j["added_tokens"][0] = 3; }, "added_tokens[0]"},
    {"added token without id", [](TestJson& j) { j["added_tokens"][0].erase("id"); }, "added_tokens[0].id"},
    {"added token of negative id", [](TestJson& j) { j["added_tokens"][0]["id"] = -5; }, "added_tokens[0]"},
    {"added token of huge id", [](TestJson& j) { j["added_tokens"][0]["id"] = 1LL << 40; }, "added_tokens[0]"},
    {"added token contradicts", [](TestJson& j) { j["added_tokens"][0]["id"] = 2; }, "added_tokens[0]"},
    {"added token takes an id", [](TestJson& j) { j["added_tokens"][0]["content"] = "<new>"; }, "added_tokens[0]"},
    {"unknown normalizer",
     [](TestJson& j) {
       j["normalizer"] = {{"type", "Nmt"}};
     },
     "normalizer.type"},
    {"normalizer without type", [](TestJson& j) { j["normalizer"] = TestJson::object(); }, "normalizer.type"},
    {"replacement without pattern",
     [](TestJson& j) {
       j["normalizer"] = {{"type", "Replace"}, {"content", "x"}};
     },
     "pattern"},
    {"deep normalizer", [](TestJson& j) { j["normalizer"] = nested(2000, "normalizers"); }, "nested"},
    {"unknown pre-tokenizer",
     [](TestJson& j) {
       j["pre_tokenizer"] = {{"type", "Bert"}};
     },
     "pre_tokenizer.type"},
    {"broken expression", [](TestJson& j) { j["pre_tokenizer"] = split("a(b"); }, "a(b"},
    {"open class", [](TestJson& j) { j["pre_tokenizer"] = split("[a-"); }, "[a-"},
    {"backslash at the end", [](TestJson& j) { j["pre_tokenizer"] = split("a\\"); }, "backslash"},
    {"class in a class", [](TestJson& j) { j["pre_tokenizer"] = split("[a[^b]]"); }, "negated class"},
    {"intersection", [](TestJson& j) { j["pre_tokenizer"] = split("[a-z&&[^b]]"); }, "&&"},
    {"single bytes", [](TestJson& j) { j["pre_tokenizer"] = split("\\C"); }, "does not compile"},
    {"unknown behavior", [](TestJson& j) { (j["pre_tokenizer"] = split("a"))["behavior"] = "Cut"; }, "behavior"},
    {"unknown scheme",
     [](TestJson& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "last"}};
     },
     "prepend_scheme"},
    {"long replacement",
     [](TestJson& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}};
     },
     "one character"},
    {"unknown decoder",
     [](TestJson& j) {
       j["decoder"] = {{"type", "CTC"}};
     },
     "decoder.type"},
    {"strip of a word",
     [](TestJson& j) {
       j["decoder"] = {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}};
     },
     "one character"},
    {"strip without count",
     [](TestJson& j) {
       j["decoder"] = {{"type", "Strip"}, {"content", "a"}, {"start", "x"}, {"stop", 0}};
     },
     "decoder.start"},
    {"unknown post-processor",
     [](TestJson& j) {
       j["post_processor"] = {{"type", "Magic"}};
     },
     "post_processor.type"},
    {"template without text",
     [](TestJson& j) {
       j["post_processor"] = {{"type", "TemplateProcessing"}, {"single", TestJson::array()}};
     },
     "single"},
};

TEST(Hostile, IsRefusedWithAMessageThatNamesThePart) {
  for (const Broken& broken : kBroken) {
    TestJson json = metaspace_json();
    broken.change(json);
    try {
      opened(json);
      ADD_FAILURE() << broken.name << ": taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(broken.message), std::string::npos)
          << broken.name << ": " << error.what();
    }
  }
}

TEST(Hostile, TextThatIsNoJson) {
  for (const char* text :
       {"", "{", "[]", "3", "null", "{\"model\": {\"vocab\": {\"a\": 0", "version https://git-lfs.github.com/spec/v1",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "{\"\xFF\": 1}"}) {
    EXPECT_THROW(Tokenizer::from_json(text), Error) << text;
  }
  EXPECT_THROW(Tokenizer::from_json(std::string(200'000, '[')), Error);
}

TEST(Hostile, ReplacementsThatExplodeAreStopped) {
  TestJson json = metaspace_json(), steps = TestJson::array();
  for (int i = 0; i < 60; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaaaaaa"}});
  }
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = opened(json);
  EXPECT_THROW(tokenizer.encode("a"), Error);
  EXPECT_NO_THROW(tokenizer.encode("b"));
}

TEST(Hostile, ExpressionsWithoutEndAreStopped) {
  TestJson json = metaspace_json();
  json["pre_tokenizer"] = split("(a+)+(a+)+(a+)+[cd]");
  EXPECT_THROW(opened(json).encode(std::string(5000, 'a') + "b"), Error);
}

}  // namespace
}  // namespace introspect
