// Endpoints, against a server in this process. Nothing waits: the clock is ours.
#include "chat/endpoint.h"

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "chat/cache.h"
#include "chat/scripted_model.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <httplib.h>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::question_of;

class FakeClock : public Clock {
 public:
  double now() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return now_;
  }
  void sleep(double seconds) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    now_ += seconds;
    sleeps.push_back(seconds);
  }
  std::vector<double> sleeps;

 private:
  std::mutex mutex_;
  double now_ = 1000;
};

class MockServer {
 public:
  // `handle` gets the number of the request, from 0; requests come one at a time.
  using Handle = std::function<void(int, const httplib::Request&, httplib::Response&)>;
  explicit MockServer(Handle handle) : handle_(std::move(handle)) {
    server_.Post("/v1/chat/completions", [this](const httplib::Request& request, httplib::Response& response) {
      const std::lock_guard<std::mutex> lock(mutex_);
      bodies.push_back(parse_json(request.body, "request"));
      handle_(count_++, request, response);
    });
    server_.set_tcp_nodelay(true);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~MockServer() {
    server_.stop();
    thread_.join();
  }
  std::string url() const { return fmt::format("http://127.0.0.1:{}/v1", port_); }
  int count() const { return count_; }
  std::vector<Json> bodies;

 private:
  Handle handle_;
  httplib::Server server_;
  std::thread thread_;
  std::mutex mutex_;
  std::atomic<int> count_ = 0;
  int port_ = 0;
};

void say(httplib::Response& response, const std::string& text, const std::string& finish = "stop") {
  const Json json{{"choices", {{{"message", {{"role", "assistant"}, {"content", text}}}, {"finish_reason", finish}}}},
                  {"usage", {{"prompt_tokens", 11}, {"completion_tokens", 3}}}};
  response.set_content(json.dump(), "application/json");
}

void refuse(httplib::Response& response, int status, const std::string& message, const std::string& code = "") {
  response.status = status;
  const Json json{{"error", {{"message", message}, {"code", code}}}};
  response.set_content(json.dump(), "application/json");
}

EndpointSettings settings_for(const std::string& url) {
  EndpointSettings settings;
  settings.url = url;
  settings.model = "some/model";
  settings.in_flight = 1;
  settings.attempts = 4;
  settings.times = {2, 20};
  return settings;
}

std::string echo(const httplib::Request& request) {
  return parse_json(request.body, "request").at("messages").back().at("content").get<std::string>();
}

TEST(Endpoint, SendsTheQuestionAndReadsTheReply) {
  ::setenv("INTROSPECT_TEST_KEY", "secret-123\n", 1);
  std::string authorization, type;
  MockServer server([&](int, const httplib::Request& request, httplib::Response& response) {
    authorization = request.get_header_value("Authorization");
    type = request.get_header_value("Content-Type");
    say(response, "Grüße", "length");
  });
  EndpointSettings settings = settings_for(server.url() + "/chat/completions");  // the whole address is taken too
  settings.key_variable = "INTROSPECT_TEST_KEY";
  settings.parameters = R"({"max_tokens": null, "max_completion_tokens": 77, "top_p": 0.5})";
  EndpointChatModel model(settings);
  ChatQuestion question;
  question.messages = {{"system", "Be brief."}, {"user", "Hello \xff"}};
  question.temperature = 0.5;
  question.candidate = 3;
  question.stop = {"\n"};
  const ChatReply reply = ask(model, question);
  EXPECT_EQ(reply.text, "Grüße");
  EXPECT_TRUE(reply.cut);
  EXPECT_EQ(reply.prompt_tokens, 11);
  EXPECT_EQ(reply.reply_tokens, 3);
  EXPECT_EQ(authorization, "Bearer secret-123");
  EXPECT_EQ(type, "application/json");
  EXPECT_EQ(server.bodies.at(0),
            parse_json("{\"model\": \"some/model\", \"messages\": [{\"role\": \"system\", \"content\": "
                       "\"Be brief.\"}, {\"role\": \"user\", \"content\": \"Hello \uFFFD\"}], "
                       "\"temperature\": 0.5, \"stop\": [\"\\n\"], \"seed\": 3, "
                       "\"max_completion_tokens\": 77, \"top_p\": 0.5}",
                       "expected"));
  const ChatTally tally = model.tally();
  EXPECT_EQ(tally.answered, 1);
  EXPECT_EQ(tally.cut, 1);
  EXPECT_EQ(tally.prompt_tokens, 11);
  EXPECT_EQ(tally.estimated, 0);
}

TEST(Endpoint, TriesAgainWithLongerAndLongerWaits) {
  FakeClock clock;
  MockServer server([](int number, const httplib::Request&, httplib::Response& response) {
    if (number == 0) return refuse(response, 500, "oops");
    if (number == 1) return response.set_content("<html>bad gateway", "text/html");
    if (number == 2) return response.set_content(R"({"choices": []})", "application/json");
    say(response, "yes");
  });
  EndpointChatModel model(settings_for(server.url()), clock);
  EXPECT_EQ(ask(model, question_of("?")).text, "yes");
  EXPECT_EQ(model.tally().retries, 3);
  ASSERT_EQ(clock.sleeps.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const double longest = static_cast<double>(1 << i);
    EXPECT_GE(clock.sleeps[i], longest / 2);
    EXPECT_LE(clock.sleeps[i], longest);
  }
}

TEST(Endpoint, ObeysRetryAfter) {
  FakeClock clock;
  MockServer server([](int number, const httplib::Request&, httplib::Response& response) {
    if (number > 0) return say(response, "yes");
    refuse(response, 429, "slow down");
    response.set_header("Retry-After", "7");
  });
  EndpointChatModel model(settings_for(server.url()), clock);
  EXPECT_EQ(ask(model, question_of("?")).text, "yes");
  EXPECT_EQ(clock.sleeps, std::vector<double>{7});
}

TEST(Endpoint, WaitsForItsTurn) {
  FakeClock clock;
  MockServer server([](int, const httplib::Request&, httplib::Response& response) { say(response, "yes"); });
  EndpointSettings settings = settings_for(server.url());
  settings.requests_per_minute = 30;
  EndpointChatModel model(settings, clock);
  std::vector<ChatQuestion> questions(4, question_of("?"));
  ask_all(model, questions, "");
  EXPECT_EQ(clock.sleeps, (std::vector<double>{2, 2, 2}));
}

// The error when every request is answered by `handle`; how often the server was asked goes to `asked`.
std::string error_with(const MockServer::Handle& handle, int* asked = nullptr, int64_t questions = 1) {
  ::setenv("INTROSPECT_TEST_KEY", "secret-123", 1);
  FakeClock clock;
  MockServer server(handle);
  EndpointSettings settings = settings_for(server.url());
  settings.key_variable = "INTROSPECT_TEST_KEY";
  const std::string error = error_of([&] {
    EndpointChatModel model(settings, clock);
    ask_all(model, std::vector<ChatQuestion>(static_cast<size_t>(questions), question_of("?")), "");
  });
  if (asked) *asked = server.count();
  EXPECT_EQ(error.find("secret"), std::string::npos) << error;
  return error;
}

TEST(Endpoint, ErrorsSayWhatToDo) {
  int asked = 0;
  std::string error =
      error_with([](int, const httplib::Request&,
                    httplib::Response& response) { refuse(response, 401, "Incorrect API key provided: secret-123."); },
                 &asked);
  EXPECT_TRUE(holds(error, "does not accept the key")) << error;
  EXPECT_TRUE(holds(error, "INTROSPECT_TEST_KEY"));
  EXPECT_TRUE(holds(error, "provided: ***."));
  EXPECT_EQ(asked, 1) << "a refused key is not tried again";

  error = error_with(
      [](int, const httplib::Request&, httplib::Response& response) { refuse(response, 404, "no model some/model"); },
      &asked);
  EXPECT_TRUE(holds(error, "no model some/model"));
  EXPECT_TRUE(holds(error, "no such model or path"));
  EXPECT_EQ(asked, 1);

  error = error_with([](int, const httplib::Request&,
                        httplib::Response& response) { response.set_content("{\"choices\": [", "application/json"); },
                     &asked);
  EXPECT_TRUE(holds(error, "4 attempts, the last reply is no JSON"));
  EXPECT_EQ(asked, 4);

  error = error_with([](int, const httplib::Request&, httplib::Response& response) {
    response.set_content(R"({"choices": []})", "application/json");
  });
  EXPECT_TRUE(holds(error, "has no choices"));

  error = error_with(
      [](int, const httplib::Request&, httplib::Response& response) { refuse(response, 503, "overloaded"); });
  EXPECT_TRUE(holds(error, "4 attempts, the last with status 503: overloaded"));

  error = error_with(
      [](int, const httplib::Request&, httplib::Response& response) {
        refuse(response, 429, "You exceeded your current quota", "insufficient_quota");
      },
      &asked);
  EXPECT_TRUE(holds(error, "account is empty"));
  EXPECT_EQ(asked, 1);

  error = error_with([](int, const httplib::Request&, httplib::Response& response) {
    refuse(response, 429, "tomorrow");
    response.set_header("Retry-After", "86400");
  });
  EXPECT_TRUE(holds(error, "a wait of 86400 seconds"));

  error = error_with([](int, const httplib::Request&, httplib::Response& response) {
    response.set_redirect("http://127.0.0.1:1/elsewhere", 307);
  });
  EXPECT_TRUE(holds(error, "redirects (status 307) to 'http://127.0.0.1:1/elsewhere'"));
}

TEST(Endpoint, NoServer) {
  std::string url;
  {
    url = MockServer([](int, const httplib::Request&, httplib::Response&) {}).url();
  }
  FakeClock clock;
  const std::string error = error_of([&] {
    EndpointChatModel model(settings_for(url), clock);
    ask(model, question_of("?"));
  });
  EXPECT_TRUE(holds(error, "refused"));
  EXPECT_TRUE(holds(error, url));
  EXPECT_TRUE(clock.sleeps.empty()) << "no server at all is said at once";
}

TEST(Endpoint, ARefusedQuestionDoesNotStopTheOthers) {
  MockServer server([](int, const httplib::Request& request, httplib::Response& response) {
    if (echo(request) == "long") return refuse(response, 400, "maximum context length is 512 tokens");
    if (echo(request) == "rude") return say(response, "", "content_filter");
    if (echo(request) == "thought") {
      return response.set_content(R"({"choices": [{"message": {"content": null}, "finish_reason": "length"}]})",
                                  "application/json");
    }
    say(response, "to " + echo(request));
  });
  EndpointChatModel model(settings_for(server.url()));
  const std::vector<ChatReply> replies =
      ask_all(model, {question_of("long"), question_of("a"), question_of("rude"), question_of("thought")}, "");
  EXPECT_TRUE(holds(replies[0].refusal, "maximum context length"));
  EXPECT_EQ(replies[1].text, "to a");
  EXPECT_TRUE(holds(replies[2].refusal, "filter"));
  EXPECT_EQ(replies[3].refusal, "");
  EXPECT_EQ(replies[3].text, "");
  EXPECT_TRUE(replies[3].cut);
  const ChatTally tally = model.tally();
  EXPECT_EQ(tally.refused, 2);
  EXPECT_EQ(tally.answered, 2);
  EXPECT_EQ(tally.estimated, 1);
}

TEST(Endpoint, RefusingEverythingIsAnError) {
  int asked = 0;
  const auto handle = [](int, const httplib::Request&, httplib::Response& response) {
    refuse(response, 400, "unknown parameter max_tokens");
  };
  EXPECT_TRUE(holds(error_with(handle, &asked, 3), "every question was refused"));
  EXPECT_TRUE(holds(error_with(handle, &asked, 100), "unknown parameter"));
  EXPECT_EQ(asked, 8);
}

TEST(Endpoint, ManyAtOnce) {
  MockServer server(
      [](int, const httplib::Request& request, httplib::Response& response) { say(response, "to " + echo(request)); });
  EndpointSettings settings = settings_for(server.url());
  settings.in_flight = 8;
  EndpointChatModel model(settings);
  std::vector<ChatQuestion> questions;
  for (int i = 0; i < 60; ++i) questions.push_back(question_of(fmt::format("q{}", i)));
  const std::vector<ChatReply> replies = ask_all(model, questions, "");
  for (size_t i = 0; i < replies.size(); ++i) EXPECT_EQ(replies[i].text, fmt::format("to q{}", i));
  EXPECT_EQ(server.count(), 60);
}

TEST(Endpoint, WhatWasAnsweredBeforeAFailureIsKept) {
  const TemporaryFolder folder;
  FakeClock clock;
  bool broken = true;
  MockServer server([&](int number, const httplib::Request& request, httplib::Response& response) {
    if (broken && number >= 5) return refuse(response, 401, "revoked");
    say(response, "to " + echo(request));
  });
  std::vector<ChatQuestion> questions;
  for (int i = 0; i < 9; ++i) questions.push_back(question_of(fmt::format("q{}", i)));
  const auto open = [&] {
    return CachedChatModel(std::make_unique<EndpointChatModel>(settings_for(server.url()), clock), folder / "c.jsonl");
  };
  EXPECT_TRUE(holds(error_of([&] {
                      CachedChatModel model = open();
                      ask_all(model, questions, "");
                    }),
                    "revoked"));
  broken = false;
  CachedChatModel model = open();
  EXPECT_EQ(model.size(), 5u);
  const std::vector<ChatReply> replies = ask_all(model, questions, "");
  for (size_t i = 0; i < replies.size(); ++i) EXPECT_EQ(replies[i].text, fmt::format("to q{}", i));
  EXPECT_EQ(server.count(), 6 + 4) << "five answered and one refused, then the four that were missing";
}

TEST(Endpoint, SettingsThatMakeNoSense) {
  const auto error_when = [](const std::function<void(EndpointSettings&)>& change) {
    EndpointSettings settings = settings_for("http://localhost:1/v1");
    change(settings);
    return error_of([&] { EndpointChatModel model(settings); });
  };
  ::unsetenv("INTROSPECT_NO_SUCH_KEY");
  EXPECT_TRUE(holds(error_when([](auto& s) { s.key_variable = "INTROSPECT_NO_SUCH_KEY"; }), "is not set"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.model = ""; }), "model"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.in_flight = 0; }), "in_flight"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.parameters = "[1]"; }), "a JSON object"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.parameters = "{"; }), "chat parameters"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.times.reply_seconds = 0; }), "more than 0"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.url = "localhost:8000"; }), "http://... or https://..."));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.url = "http:///v1"; }), "a host"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.url = "http://h:port/v1"; }), "a port number"));
  EXPECT_TRUE(holds(error_when([](auto& s) { s.url = "http://h/v1?key=1"; }), "no ? or #"));
  const std::string error = error_when([](auto& s) { s.url = "http://me:hunter2@h/v1"; });
  EXPECT_TRUE(holds(error, "password"));
  EXPECT_EQ(error.find("hunter2"), std::string::npos);
  EXPECT_EQ(parse_http_address("https://[::1]:8000/v1/").origin, "https://[::1]:8000");
  EXPECT_EQ(parse_http_address("https://[::1]/v1/").path, "/v1");
  EXPECT_EQ(parse_http_address("http://host").path, "");
}

}  // namespace
}  // namespace introspect
