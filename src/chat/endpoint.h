// A chat model behind an OpenAI-compatible endpoint: POST <url>/chat/completions, as OpenAI, OpenRouter, vLLM, SGLang,
// llama.cpp's server and Ollama answer it.
#pragma once

#include "chat/chat_model.h"
#include "chat/clock.h"
#include "chat/http.h"
#include "chat/rate_limit.h"

#include <cstdint>
#include <mutex>
#include <string>

namespace introspect {

struct EndpointSettings {
  std::string url;           // "http://localhost:8000/v1"
  std::string model;         // as the endpoint calls it
  std::string key_variable;  // the environment variable that holds the key; empty: no key is sent
  int64_t in_flight = 8;     // questions at once
  int64_t requests_per_minute = 0, tokens_per_minute = 0;  // 0: no limit
  int64_t attempts = 6;                                    // of each question
  HttpTimes times;
  // A JSON object that is merged into every request (RFC 7396: null takes a key away), for what servers differ in:
  // {"max_tokens": null, "max_completion_tokens": 300}, {"chat_template_kwargs": {"enable_thinking": false}}
  std::string parameters = "{}";
};

// What fails is tried again after a wait: a broken connection, status 408, 409, 425, 429 and 5xx, a reply that is no
// JSON or has no choices. Retry-After is obeyed, by all questions in flight. Errors at once: no connection when nothing
// was answered yet, a refused key (401, 403), an unknown model or path (404), a redirect, an empty account, a wait of
// over ten minutes. Refused (400, 413, 422, filtered): that question gets no answer, the others go on; but eight
// refusals in a row without any answer before are an Error, since the form of the requests is at fault then.
// The key is in no message, file or record.
class EndpointChatModel : public ChatModel {
 public:
  // Throws Error(usage) for settings that make no sense, and if the variable named is not set.
  explicit EndpointChatModel(EndpointSettings settings, Clock& clock = system_clock());

  std::string name() const override { return settings_.model; }
  // Without the address: the same model served elsewhere is the same model.
  std::string identity() const override;
  void ask_all(const std::vector<ChatQuestion>& questions, const Take& take) override;
  ChatTally tally() const override;

 private:
  ChatReply answer(HttpConnection& connection, const ChatQuestion& question);
  void wait_for_turn(int64_t tokens);
  void wait_after_failure(int attempt, const HttpReply& reply);
  std::string request_body(const ChatQuestion& question) const;
  ChatReply refused(const std::string& why);
  [[noreturn]] void give_up(const std::string& what, const std::string& hint = "") const;
  std::string without_key(std::string text) const;

  EndpointSettings settings_;
  HttpAddress address_;
  std::string key_;
  Clock& clock_;

  mutable std::mutex mutex_;  // of what follows
  RateLimit limit_;
  ChatTally tally_;
  int64_t refusals_in_front_ = 0;  // before the first answer
};

}  // namespace introspect
