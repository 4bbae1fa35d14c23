// Chat templates against transformers' renderings, and turns that are continued.
#include "text/chat_template.h"

#include "base/error.h"

#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

fs::path goldens() {
  const char* given = std::getenv("INTROSPECT_GOLDENS");
  return given != nullptr ? fs::path(given) : fs::path(INTROSPECT_SOURCE_DIR) / "../shared/goldens";
}

TEST(ChatTemplate, EqualsTheGoldenRenderings) {
  if (!fs::exists(goldens() / "chat")) GTEST_SKIP() << "no golden renderings in " << goldens() / "chat";
  int cases = 0, raised = 0;
  for (const auto& entry : fs::directory_iterator(goldens() / "chat")) {
    if (entry.path().extension() != ".json") continue;
    const Json file = read_json(entry.path());
    std::map<std::string, std::string> special_tokens;
    for (const char* name : {"bos_token", "eos_token"}) {
      if (file.at(name).is_string()) special_tokens[name] = file.at(name).get<std::string>();
    }
    const ChatTemplate chat(file.at("template").get<std::string>(), entry.path().filename(), special_tokens);
    const Tokenizer tokenizer = Tokenizer::open(goldens() / "tokenizers" / file.at("tokenizer").get<std::string>());
    for (const Json& each : file.at("cases")) {
      const std::string id = file.at("name").get<std::string>() + " " + each.at("id").dump();
      Json asked = each;
      for (const char* key : {"id", "expected", "expected_ids", "error"}) asked.erase(key);
      const ChatRequest request = parse_chat_request(asked, id);
      ++cases;
      if (each.contains("error")) {
        ++raised;
        EXPECT_THROW(chat.render(request), Error) << id;
        continue;
      }
      const std::string text = chat.render(request);
      EXPECT_EQ(text, each.at("expected").get<std::string>()) << id;
      EXPECT_EQ(tokenizer.encode(text, false), each.at("expected_ids").get<std::vector<int64_t>>()) << id;
    }
  }
  EXPECT_GE(cases, 183);
  std::printf("%d renderings and their tokens agree, %d of them errors\n", cases, raised);
}

class SmallChat : public ::testing::Test {
 protected:
  ChatTemplate chat_{
      "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>\n{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}{{ eos_token }}",
      "small.jinja",
      {{"eos_token", "<end>"}}};
  static ChatRequest request(const char* json) { return parse_chat_request(Json::parse(json), "test"); }
  std::string error_of(const char* json) {
    try {
      return "no error but: " + chat_.render(request(json));
    } catch (const Error& error) {
      return error.what();
    }
  }
};

TEST_F(SmallChat, PromptsAndPrefilledTurns) {
  EXPECT_EQ(chat_.render(request(R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true})")),
            "<user>a</>\n<assistant><end>");
  // the last occurrence is the turn; white space that the template trimmed stays away
  EXPECT_EQ(chat_.render(request(R"({"messages": [{"role": "user", "content": "Answer:"},
                                     {"role": "assistant", "content": " Answer: "}], "continue_final_message": true})")),
            "<user>Answer:</>\n<assistant>Answer:");
  const ChatTemplate keeps("{% for m in messages %}[{{ m.content }}]{% endfor %}", "keeps.jinja", {});
  EXPECT_EQ(keeps.render(request(R"({"messages": [{"content": "Answer: "}], "continue_final_message": true})")),
            "[Answer: ");
  EXPECT_EQ(keeps.render(request(R"({"messages": [{"content": "a"}], "kwargs": {"messages": 3}})")), "[a]");
}

TEST_F(SmallChat, Errors) {
  const auto holds = [&](const char* json, const char* part) {
    EXPECT_NE(error_of(json).find(part), std::string::npos) << error_of(json);
  };
  holds(R"({"messages": "hello"})", "messages: expected a list");
  holds(R"({})", "messages: expected a list");
  holds(R"({"messages": ["hello"]})", "messages: expected objects");
  holds(R"({"messages": [], "add_generation_prompt": true, "continue_final_message": true})", "exclude each other");
  holds(R"({"messages": [], "continue_final_message": true})", "no text to continue");
  holds(R"({"messages": [], "kwargs": 3})", "kwargs: expected an object");
  EXPECT_THROW(request(R"({"messages": [], "colour": 1})"), Error);
  EXPECT_THROW(request(R"([1])"), Error);
  EXPECT_THROW(request(R"({"messages": [], "add_generation_prompt": "yes"})"), Error);
  const ChatTemplate silent("nothing", "silent.jinja", {});
  EXPECT_THROW(silent.render(request(R"({"messages": [{"content": "a b"}], "continue_final_message": true})")), Error);
}

}  // namespace
}  // namespace introspect
