#include "chat/endpoint.h"

#include "base/error.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/random.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <pthread.h>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr double kLongestWait = 600;  // seconds
constexpr int64_t kRefusalsInFront = 8;

std::string shortened(const std::string& text) {
  std::string line = text.substr(0, 300);
  std::replace_if(
      line.begin(), line.end(), [](char letter) { return letter == '\n' || letter == '\r' || letter == '\t'; }, ' ');
  return line;
}

std::optional<Json> parse_quietly(const std::string& body) {
  try {
    return parse_json(body, "reply");
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string text_at(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// What the body of a failure says: {"error": {"message", "code"}} as OpenAI writes it, {"error": "..."}, {"message"},
// {"detail"}; else its beginning.
struct Complaint {
  std::string message, code;
};
Complaint complaint_of(const std::string& body) {
  const std::optional<Json> json = parse_quietly(body);
  if (!json || !json->is_object()) return {shortened(body), ""};
  const auto error = json->find("error");
  if (error != json->end() && error->is_object()) {
    const std::string message = text_at(*error, "message");
    return {shortened(message.empty() ? error->dump(-1, ' ', false, Json::error_handler_t::replace) : message),
            text_at(*error, "code")};
  }
  for (const char* key : {"error", "message", "detail"}) {
    if (const std::string text = text_at(*json, key); !text.empty()) return {shortened(text), ""};
  }
  return {shortened(body), ""};
}

bool worth_a_retry(int status) {
  return status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
}

int64_t count_at(const Json& reply, const char* key) {
  const auto usage = reply.find("usage");
  if (usage == reply.end() || !usage->is_object()) return -1;
  const auto found = usage->find(key);
  if (found == usage->end() || !found->is_number_integer()) return -1;
  const double count = found->get<double>();
  return count >= 0 && count < 1e12 ? static_cast<int64_t>(count) : -1;
}

// A reply's text and how it ended; empty if it is not of the form.
struct Choice {
  std::string text, finish_reason, refusal;
};
std::optional<Choice> first_choice(const Json& reply) {
  if (!reply.is_object()) return std::nullopt;
  const auto choices = reply.find("choices");
  if (choices == reply.end() || !choices->is_array() || choices->empty()) return std::nullopt;
  const Json& first = choices->front();
  if (!first.is_object()) return std::nullopt;
  const auto message = first.find("message");
  if (message == first.end() || !message->is_object()) return std::nullopt;
  // "content" is null where a filter or a long thought left nothing
  return Choice{text_at(*message, "content"), text_at(first, "finish_reason"), text_at(*message, "refusal")};
}

// A server that closes its end must not end the program.
void block_broken_pipe_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

EndpointChatModel::EndpointChatModel(EndpointSettings settings, Clock& clock)
    : settings_(std::move(settings)),
      address_(parse_http_address(settings_.url)),
      clock_(clock),
      limit_(settings_.requests_per_minute, settings_.tokens_per_minute) {
  const auto expect = [](bool good, const char* name, const std::string& got, const char* expected) {
    if (!good) fail_usage("chat", fmt::format("{}: got {}, expected {}", name, got, expected));
  };
  expect(!settings_.model.empty(), "model", "no name", "the name that the endpoint knows it by");
  expect(settings_.in_flight >= 1 && settings_.in_flight <= 256, "in_flight", fmt::to_string(settings_.in_flight),
         "1 to 256");
  expect(settings_.attempts >= 1, "attempts", fmt::to_string(settings_.attempts), "1 or more");
  expect(settings_.requests_per_minute >= 0, "requests_per_minute", fmt::to_string(settings_.requests_per_minute),
         "0 (no limit) or more");
  expect(settings_.tokens_per_minute >= 0, "tokens_per_minute", fmt::to_string(settings_.tokens_per_minute),
         "0 (no limit) or more");
  for (const double seconds : {settings_.times.connect_seconds, settings_.times.reply_seconds}) {
    expect(seconds > 0 && seconds < 1e6, "seconds", fmt::to_string(seconds), "more than 0");
  }
  expect(parse_json(settings_.parameters, "chat parameters").is_object(), "parameters", settings_.parameters,
         "a JSON object");
  if (!settings_.key_variable.empty()) {
    const char* key = std::getenv(settings_.key_variable.c_str());
    if (!key || !*key) {
      fail_usage("chat", fmt::format("the environment variable '{}' is not set", settings_.key_variable),
                 fmt::format("export {}=... before the command", settings_.key_variable));
    }
    key_ = key;
    // a key read from a file brings its line break along, which would end the header
    while (!key_.empty() && (key_.back() == '\n' || key_.back() == '\r' || key_.back() == ' ')) key_.pop_back();
    if (key_.empty() || key_.find_first_of("\r\n") != std::string::npos) {
      fail_usage("chat", fmt::format("the environment variable '{}' holds no key", settings_.key_variable));
    }
  }
}

std::string EndpointChatModel::identity() const {
  return fmt::format("endpoint model {} {}", settings_.model,
                     parse_json(settings_.parameters, "chat parameters").dump());
}

ChatTally EndpointChatModel::tally() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tally_;
}

std::string EndpointChatModel::without_key(std::string text) const {
  if (key_.empty()) return text;
  for (size_t at = text.find(key_); at != std::string::npos; at = text.find(key_, at)) {
    text.replace(at, key_.size(), "***");
  }
  return text;
}

void EndpointChatModel::give_up(const std::string& what, const std::string& hint) const {
  fail("chat", without_key(fmt::format("{} ({}, model '{}')", what, settings_.url, settings_.model)), hint);
}

std::string EndpointChatModel::request_body(const ChatQuestion& question) const {
  Json body{{"model", settings_.model}, {"messages", Json::array()}};
  for (const ChatMessage& message : question.messages) {
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  body["max_tokens"] = question.max_tokens;
  body["temperature"] = question.temperature;
  if (!question.stop.empty()) body["stop"] = question.stop;
  if (question.temperature > 0) body["seed"] = question.candidate;
  body.merge_patch(parse_json(settings_.parameters, "chat parameters"));
  // pieces of contexts may end inside a character
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void EndpointChatModel::wait_for_turn(int64_t tokens) {
  double wait = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wait = std::max(limit_.book(clock_.now(), tokens), limit_.held(clock_.now()));
  }
  while (wait > 0) {
    clock_.sleep(wait);
    check_interrupt("chat");
    const std::lock_guard<std::mutex> lock(mutex_);
    wait = limit_.held(clock_.now());
  }
}

void EndpointChatModel::wait_after_failure(int attempt, const HttpReply& reply) {
  const auto header = reply.headers.find("retry-after");
  std::optional<double> asked;
  if (header != reply.headers.end()) {
    asked = parse_retry_after(header->second, static_cast<double>(std::time(nullptr)));
  }
  if (asked && *asked > kLongestWait) {
    give_up(fmt::format("the endpoint asks for a wait of {:.0f} seconds (status {}): {}", *asked, reply.status,
                        complaint_of(reply.body).message),
            "run the same command later: it goes on from here");
  }
  double wait = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // the stream is named by the count of retries: no state to keep, and several that fail at once draw differently
    Random random(static_cast<uint64_t>(tally_.retries), "chat retries");
    ++tally_.retries;
    wait = asked ? *asked : backoff_seconds(attempt, random.uniform());
    if (asked) limit_.hold_until(clock_.now() + *asked);
  }
  clock_.sleep(wait);
  check_interrupt("chat");
}

ChatReply EndpointChatModel::refused(const std::string& why) {
  ChatReply reply;
  reply.refusal = without_key(why);
  int64_t in_front = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++tally_.refused;
    in_front = tally_.answered == 0 ? ++refusals_in_front_ : 0;
  }
  if (in_front >= kRefusalsInFront) {
    give_up(fmt::format("{} questions were refused and none was answered, the last with: {}", in_front, why),
            "the endpoint may not know a parameter: see the option for the requests' parameters");
  }
  return reply;
}

ChatReply EndpointChatModel::answer(HttpConnection& connection, const ChatQuestion& question) {
  const std::string body = request_body(question);
  const int64_t booked = estimated_prompt_tokens(question) + question.max_tokens;
  std::map<std::string, std::string> headers{{"Content-Type", "application/json"}, {"Accept", "application/json"}};
  if (!key_.empty()) headers["Authorization"] = "Bearer " + key_;

  for (int attempt = 0;; ++attempt) {
    const bool last = attempt + 1 >= settings_.attempts;
    wait_for_turn(booked);
    const HttpReply reply = connection.post(address_.path + "/chat/completions", headers, body);
    if (reply.status == 0) {
      const bool none_yet = tally().answered == 0;
      if (last || (reply.unreachable && none_yet)) {
        give_up(reply.failure, "is the server running, and is the address right?");
      }
    } else if (reply.status == 200) {
      const std::optional<Json> json = parse_quietly(reply.body);
      const std::optional<Choice> choice = json ? first_choice(*json) : std::nullopt;
      if (choice && choice->text.empty() && (choice->finish_reason == "content_filter" || !choice->refusal.empty())) {
        return refused(choice->refusal.empty() ? "the endpoint's filter kept the reply back" : choice->refusal);
      }
      if (choice) {
        ChatReply result;
        result.text = choice->text;
        result.cut = choice->finish_reason == "length";
        result.prompt_tokens = count_at(*json, "prompt_tokens");
        result.reply_tokens = count_at(*json, "completion_tokens");
        const bool counted = result.prompt_tokens >= 0 && result.reply_tokens >= 0;
        if (result.prompt_tokens < 0) result.prompt_tokens = estimated_prompt_tokens(question);
        if (result.reply_tokens < 0) result.reply_tokens = estimated_tokens(result.text);
        const std::lock_guard<std::mutex> lock(mutex_);
        limit_.settle(booked, result.prompt_tokens + result.reply_tokens);
        ++tally_.answered;
        tally_.cut += result.cut;
        tally_.estimated += !counted;
        tally_.prompt_tokens += result.prompt_tokens;
        tally_.reply_tokens += result.reply_tokens;
        return result;
      }
      if (last) {
        give_up(fmt::format("{} attempts, the last reply {}: {}", settings_.attempts,
                            json ? "has no choices with a message" : "is no JSON", complaint_of(reply.body).message));
      }
    } else {
      const Complaint complaint = complaint_of(reply.body);
      const std::string said = fmt::format("status {}: {}", reply.status, complaint.message);
      if (reply.status == 401 || reply.status == 403) {
        give_up("the endpoint does not accept the key, " + said,
                settings_.key_variable.empty() ? "name the environment variable that holds the key"
                                               : fmt::format("is the key in {} right?", settings_.key_variable));
      }
      if (reply.status == 404 || reply.status == 405) {
        give_up("the endpoint knows no such model or path, " + said,
                "check the model's name, and that the address ends with /v1 if the server has it");
      }
      if (reply.status >= 300 && reply.status < 400) {
        const auto location = reply.headers.find("location");
        give_up(fmt::format("the endpoint redirects (status {}) to '{}'", reply.status,
                            location == reply.headers.end() ? "" : location->second),
                "give the address it redirects to");
      }
      if (complaint.code == "insufficient_quota") give_up("the account is empty, " + said);
      if (!worth_a_retry(reply.status)) return refused(said);
      if (last) give_up(fmt::format("{} attempts, the last with {}", settings_.attempts, said));
    }
    wait_after_failure(attempt, reply);
  }
}

void EndpointChatModel::ask_all(const std::vector<ChatQuestion>& questions, const Take& take) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  std::mutex taking;
  size_t refusals = 0;
  std::string refusal;
  const auto work = [&] {
    block_broken_pipe_signal();
    HttpConnection connection(address_.origin, settings_.times);
    try {
      while (!stop && !interrupted()) {
        const size_t question = next++;
        if (question >= questions.size()) return;
        const ChatReply reply = answer(connection, questions[question]);
        const std::lock_guard<std::mutex> lock(taking);
        if (!reply.refusal.empty()) ++refusals, refusal = reply.refusal;
        take(question, reply);
      }
    } catch (...) {
      stop = true;
      throw;
    }
  };
  const size_t workers = std::min(static_cast<size_t>(settings_.in_flight), questions.size());
  if (workers == 0) return;
  run_parallel(std::vector<std::function<void()>>(workers, work), static_cast<int>(workers));
  check_interrupt("chat");
  if (refusals == questions.size()) give_up("every question was refused, the last with: " + refusal);
}

}  // namespace introspect
