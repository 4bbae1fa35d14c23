#include "chat/chat_model.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"

#include <nlohmann/json.hpp>

namespace introspect {

ChatReply ask(ChatModel& model, const ChatQuestion& question) {
  ChatReply answer;
  model.ask_all({question}, [&](size_t, const ChatReply& reply) { answer = reply; });
  return answer;
}

std::vector<ChatReply> ask_all(ChatModel& model, const std::vector<ChatQuestion>& questions, const std::string& title) {
  std::vector<ChatReply> replies(questions.size());
  Progress progress(title, std::ssize(questions), "questions");
  model.ask_all(questions, [&](size_t question, const ChatReply& reply) {
    replies[question] = reply;
    const ChatTally tally = model.tally();
    std::string note = fmt::format("{} tokens", tally.prompt_tokens + tally.reply_tokens);
    if (tally.remembered > 0) note += fmt::format(" | {} remembered", tally.remembered);
    if (tally.retries > 0) note += fmt::format(" | {} retries", tally.retries);
    if (tally.refused > 0) note += fmt::format(" | {} refused", tally.refused);
    progress.note(note);
    progress.advance();
  });
  progress.finish();
  return replies;
}

std::string question_key(const std::string& identity, const ChatQuestion& question) {
  Json messages = Json::array();
  for (const ChatMessage& message : question.messages) messages.push_back({message.role, message.content});
  const Json key{identity, messages, question.max_tokens, question.temperature, question.stop,
                 // greedy answers do not differ by candidate
                 question.temperature > 0 ? question.candidate : 0};
  return sha256_text(key.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string without_thinking(const std::string& reply) {
  constexpr std::string_view kBlank = " \t\r\n", kOpen = "<think>", kClose = "</think>";
  std::string_view text = reply;
  const auto trim = [&] {
    const size_t first = text.find_first_not_of(kBlank);
    text = first == std::string_view::npos ? std::string_view() : text.substr(first);
    text = text.substr(0, text.find_last_not_of(kBlank) + 1);
  };
  trim();
  // Some templates write the opening mark themselves, so that the reply has only the closing one.
  const size_t close = text.find(kClose);
  if (close != std::string_view::npos) {
    text = text.substr(close + kClose.size());
  } else if (text.starts_with(kOpen)) {
    text = {};
  }
  trim();
  return std::string(text);
}

int64_t estimated_tokens(std::string_view text) {
  return (std::ssize(text) + 3) / 4;
}

int64_t estimated_prompt_tokens(const ChatQuestion& question) {
  int64_t tokens = 0;
  for (const ChatMessage& message : question.messages) tokens += estimated_tokens(message.content) + 4;
  return tokens;
}

}  // namespace introspect
