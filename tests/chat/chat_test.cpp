// The cache, limits, costs and the model in this process.
#include "base/files.h"
#include "base/temporary_folder.h"
#include "chat/cache.h"
#include "chat/cost.h"
#include "chat/local.h"
#include "chat/rate_limit.h"
#include "chat/scripted_model.h"
#include "model/tiny_model.h"

#include <cmath>
#include <csignal>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::question_of;
using test::ScriptedChatModel;

ChatReply echo(const ChatQuestion& question) {
  return ScriptedChatModel::says("to " + question.messages.back().content);
}

std::vector<ChatQuestion> questions_of(int count) {
  std::vector<ChatQuestion> questions;
  for (int i = 0; i < count; ++i) questions.push_back(question_of(fmt::format("q{}", i)));
  return questions;
}

struct Cached {
  explicit Cached(const fs::path& file, ScriptedChatModel::Script script = echo) {
    auto owned = std::make_unique<ScriptedChatModel>(std::move(script));
    inner = owned.get();
    model = std::make_unique<CachedChatModel>(std::move(owned), file);
  }
  ScriptedChatModel* inner;
  std::unique_ptr<CachedChatModel> model;
};

TEST(ChatCache, AsksNothingTwice) {
  const TemporaryFolder folder;
  std::vector<ChatQuestion> questions = questions_of(3);
  questions.push_back(questions[1]);
  {
    Cached cached(folder / "sub/cache.jsonl");
    EXPECT_FALSE(cached.model->remembers(questions[0]));
    const std::vector<ChatReply> replies = ask_all(*cached.model, questions, "");
    EXPECT_EQ(replies[3].text, "to q1");
    EXPECT_EQ(cached.inner->asked.size(), 3u) << "the same words are asked once";
    EXPECT_EQ(cached.model->tally().remembered, 1);
    EXPECT_TRUE(holds(error_of([&] { Cached second(folder / "sub/cache.jsonl"); }), "another process uses it"));
  }
  Cached cached(folder / "sub/cache.jsonl");
  EXPECT_TRUE(cached.model->remembers(questions[0]));
  EXPECT_EQ(ask_all(*cached.model, questions, "")[2].text, "to q2");
  EXPECT_TRUE(cached.inner->asked.empty());
  questions[0].max_tokens = 7;
  ask_all(*cached.model, questions, "");
  EXPECT_EQ(cached.inner->asked.size(), 1u) << "another length is another question";
}

TEST(ChatCache, RefusalsAreAskedAgain) {
  const TemporaryFolder folder;
  bool refuse = true;
  Cached cached(folder / "cache.jsonl", [&](const ChatQuestion& question) {
    return refuse ? ScriptedChatModel::refuses("not today") : echo(question);
  });
  EXPECT_EQ(ask(*cached.model, question_of("a")).refusal, "not today");
  refuse = false;
  EXPECT_EQ(ask(*cached.model, question_of("a")).text, "to a");
}

TEST(ChatCache, SurvivesAKill) {
  const TemporaryFolder folder;
  const fs::path file = folder / "cache.jsonl";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int asked = 0;
    Cached cached(file, [&](const ChatQuestion& question) {
      if (++asked == 4) ::raise(SIGKILL);
      return echo(question);
    });
    cached.model->ask_all(questions_of(8), [](size_t, const ChatReply&) {});
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  Cached cached(file);
  EXPECT_EQ(cached.model->size(), 3u);
  const std::vector<ChatReply> replies = ask_all(*cached.model, questions_of(8), "");
  EXPECT_EQ(cached.inner->asked.size(), 5u);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(replies[i].text, fmt::format("to q{}", i));
}

TEST(ChatCache, EveryCutOfTheFileIsRead) {
  const TemporaryFolder folder;
  const fs::path file = folder / "cache.jsonl";
  {
    Cached cached(file, [](const ChatQuestion& question) {
      return ScriptedChatModel::says("line\nbreak, \"quote\" and ü to " + question.messages.back().content);
    });
    ask_all(*cached.model, questions_of(2), "");
  }
  const std::string whole = read_text(file);
  const size_t first = whole.find('\n') + 1;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    folder.write("cache.jsonl", whole.substr(0, cut));
    Cached cached(file);
    EXPECT_EQ(cached.model->size(), cut < first ? 0u : cut < whole.size() ? 1u : 2u) << cut;
    EXPECT_EQ(cached.model->broken_lines(), cut == 0 || cut == first || cut == whole.size() ? 0 : 1) << cut;
    ask_all(*cached.model, questions_of(2), "");
    EXPECT_EQ(cached.inner->asked.size(), 2 - cached.model->tally().remembered);
  }
  // what was appended behind a cut is whole
  Cached cached(file);
  EXPECT_EQ(cached.model->size(), 2u);
  EXPECT_EQ(cached.model->broken_lines(), 0);
}

TEST(ChatCache, BrokenLines) {
  const TemporaryFolder folder;
  const std::string good = R"({"key": "k", "text": "t", "prompt_tokens": 1, "reply_tokens": 1, "cut": false})";
  const fs::path file = folder.write("cache.jsonl", good + "\nnonsense\n" + good + "\n");
  EXPECT_TRUE(holds(error_of([&] { Cached cached(file); }), "cache.jsonl:2"));
  folder.write("cache.jsonl", good + "\n" + std::string(20, '\0') + "\n");
  EXPECT_EQ(Cached(file).model->broken_lines(), 1) << "zeros that a power cut leaves at the end";
  EXPECT_EQ(Cached(file).model->size(), 1u);
  EXPECT_TRUE(holds(error_of([&] { Cached cached(folder.path()); }), "cannot be opened"));
}

TEST(ChatQuestionKey, EverythingCounts) {
  std::set<std::string> keys;
  const auto add = [&](const std::string& identity, const ChatQuestion& question) {
    EXPECT_TRUE(keys.insert(question_key(identity, question)).second);
  };
  ChatQuestion question = question_of("a");
  add("m", question);
  add("n", question);
  question.candidate = 1;
  EXPECT_TRUE(keys.contains(question_key("m", question))) << "greedy answers are the same for every candidate";
  question.temperature = 0.5;
  add("m", question);
  question.candidate = 2;
  add("m", question);
  question.stop = {"\n"};
  add("m", question);
  question.max_tokens = 1;
  add("m", question);
  question.messages[0].role = "system";
  add("m", question);
  question.messages[0].content = "b";
  add("m", question);
  question.messages.push_back({"user", ""});
  add("m", question);
}

TEST(RateLimit, RequestsAreSpread) {
  RateLimit limit(120, 0);
  std::vector<double> starts;
  double now = 50;
  for (int i = 0; i < 500; ++i) {
    const double wait = limit.book(now, 1000000);
    ASSERT_GE(wait, 0);
    now += wait;
    starts.push_back(now);
    if (i % 50 == 49) now += 20;  // idle time is no credit
  }
  for (size_t first = 0; first < starts.size(); ++first) {
    size_t inside = 0;
    while (first + inside < starts.size() && starts[first + inside] < starts[first] + 60) ++inside;
    EXPECT_LE(inside, 120u);
  }
}

TEST(RateLimit, TokensAreSpreadAndPutRight) {
  RateLimit limit(0, 6000);  // 100 a second
  EXPECT_EQ(limit.book(10, 500), 0);
  EXPECT_DOUBLE_EQ(limit.book(10, 100), 5);
  limit.settle(500, 200);  // the first used less
  EXPECT_DOUBLE_EQ(limit.book(10, 100), 3);
  limit.settle(100, 400);
  EXPECT_DOUBLE_EQ(limit.book(10, 0), 7);
  EXPECT_EQ(limit.book(100, 0), 0);
}

TEST(RateLimit, Hold) {
  RateLimit limit(0, 0);
  EXPECT_EQ(limit.book(5, 100), 0);
  limit.hold_until(9);
  limit.hold_until(7);
  EXPECT_DOUBLE_EQ(limit.held(5), 4);
  EXPECT_EQ(limit.held(10), 0);
}

TEST(RateLimit, WaitsAfterFailures) {
  for (int attempt = 0; attempt < 40; ++attempt) {
    const double longest = std::min(60.0, std::pow(2.0, attempt));
    EXPECT_DOUBLE_EQ(backoff_seconds(attempt, 0), longest / 2);
    EXPECT_LE(backoff_seconds(attempt, 0.999), longest);
  }
  EXPECT_EQ(parse_retry_after("2", 0), 2);
  EXPECT_EQ(parse_retry_after("1.5", 0), 1.5);
  EXPECT_EQ(parse_retry_after("-4", 0), 0);
  EXPECT_EQ(parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 70), 30);
  EXPECT_EQ(parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 7000), 0);
  for (const char* text : {"", "soon", "3 s", "nan", "inf", "Thu, 01 Jan 1970"}) {
    EXPECT_EQ(parse_retry_after(text, 0), std::nullopt) << text;
  }
}

TEST(ChatCost, EstimateAndTally) {
  const TemporaryFolder folder;
  Cached cached(folder / "cache.jsonl");
  ask(*cached.model, question_of("known"));
  ChatEstimate estimate;
  estimate.add(*cached.model, question_of("known"));
  ChatQuestion question = question_of(std::string(4000, 'x'));
  question.max_tokens = 500;
  for (int i = 0; i < 1000; ++i) estimate.add(*cached.model, question);
  EXPECT_EQ(estimate_text(estimate, std::nullopt),
            "1,001 questions (1 remembered), about 1,004,000 prompt tokens and at most 500,000 reply tokens");
  EXPECT_TRUE(holds(estimate_text(estimate, ChatPrices{0.4, 1.6}), ", at most about 1.20"));
  ChatTally tally;
  tally.answered = 10;
  tally.refused = 2;
  tally.prompt_tokens = 1000000;
  EXPECT_EQ(tally_text(tally, ChatPrices{0.5, 2}), "10 answered, 2 refused; 1,000,000 prompt and 0 reply tokens, 0.50");
}

TEST(ChatReplyText, WithoutThinking) {
  EXPECT_EQ(without_thinking("<think>\n1, 2, 3\n</think>\n\n4 \n"), "4");
  EXPECT_EQ(without_thinking("it is 5</think>4"), "4");
  EXPECT_EQ(without_thinking(" 4\n"), "4");
  EXPECT_EQ(without_thinking("<think> 1 2"), "");
  EXPECT_EQ(without_thinking(""), "");
}

LocalChatModel tiny_chat() {
  return LocalChatModel("tiny", "tiny", test::tiny_model(), test::tiny_tokenizer(), {*test::tiny_tokenizer().eos()});
}

TEST(LocalChat, WithoutATemplate) {
  LocalChatModel model = tiny_chat();
  ChatQuestion question;
  question.messages = {{"system", "the cat"}, {"user", "the dog"}};
  question.max_tokens = 8;
  EXPECT_EQ(test::tiny_tokenizer().decode(model.prompt_of(question), true), "the cat\n\nUser: the dog\nAssistant:");
  EXPECT_EQ(ask(model, question).text, ask(model, question).text);
  EXPECT_EQ(model.tally().answered, 2);
}

TEST(LocalChat, ABatchIsAsSingleQuestions) {
  LocalChatModel model = tiny_chat();
  std::vector<ChatQuestion> questions;
  for (int i = 0; i < 20; ++i) {
    questions.push_back(question_of(std::string(static_cast<size_t>(i), 'a') + " cat"));
    questions.back().max_tokens = i % 3 == 0 ? 4 : 6;
    questions.back().temperature = i % 5 == 0 ? 0.9 : 0;
    questions.back().candidate = i;
  }
  questions[7].messages[0].content = std::string(200, 'z');  // more than 128 tokens
  const std::vector<ChatReply> replies = ask_all(model, questions, "");
  EXPECT_TRUE(holds(replies[7].refusal, "the model has 128 positions"));
  for (size_t i = 0; i < questions.size(); ++i) {
    if (i == 7) continue;
    EXPECT_EQ(replies[i].text, ask(model, questions[i]).text) << i;
  }
  EXPECT_EQ(model.tally().refused, 1);
  EXPECT_TRUE(holds(error_of([&] { ask(model, questions[7]); }), "no question fits"));
}

TEST(LocalChat, WithATemplate) {
  const fs::path folder = fs::path(INTROSPECT_SOURCE_DIR) / "models/tiny-llama-chat";
  const Tokenizer tokenizer = Tokenizer::open(folder);
  const LocalChatModel model("tiny-llama-chat", "x", load_model(folder), tokenizer, {});
  const std::string prompt = tokenizer.decode(model.prompt_of(question_of("What is 1 + 1?")));
  EXPECT_TRUE(holds(prompt, "What is 1 + 1?"));
  EXPECT_EQ(prompt.find("User:"), std::string::npos) << "the template writes the roles: " << prompt;
}

}  // namespace
}  // namespace introspect
