// A chat model that can be asked: at an endpoint (endpoint.h), in this process (local.h), with a memory of what it said
// before (cache.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// What is asked. (ChatRequest is what a chat template renders, text/chat_template.h.)
struct ChatQuestion {
  std::vector<ChatMessage> messages;
  int64_t max_tokens = 256;       // of the reply
  double temperature = 0;         // 0: the likeliest words
  std::vector<std::string> stop;  // the reply ends in front of one of these
  int64_t candidate = 0;          // tells answers to the same words apart where temperature > 0; sent as the seed
};

struct ChatReply {
  std::string text;  // valid UTF-8
  int64_t prompt_tokens = 0, reply_tokens = 0;
  bool cut = false;  // max_tokens was reached
  // Why this question has no answer though the model has others: too long, filtered. Empty: it was answered.
  std::string refusal;
};

// What came of all questions so far.
struct ChatTally {
  int64_t answered = 0;    // by the model
  int64_t remembered = 0;  // from the cache, without asking
  int64_t refused = 0;
  int64_t cut = 0;                              // answered, up to max_tokens
  int64_t retries = 0;                          // attempts that failed and were made again
  int64_t prompt_tokens = 0, reply_tokens = 0;  // of the answered
  int64_t estimated = 0;                        // answered without the endpoint's count of tokens: ours is a guess
};

class ChatModel {
 public:
  virtual ~ChatModel() = default;
  virtual std::string name() const = 0;  // as results name it
  // Whatever decides its answers besides the question: the cache keeps those of different ones apart.
  virtual std::string identity() const = 0;

  // Gives each question's reply to `take` with its place in the list, in any order, never two at once. Throws Error if
  // the model cannot be reached or refuses every question, and Error(interrupted) after Ctrl-C; what was taken by then
  // stays taken.
  using Take = std::function<void(size_t question, const ChatReply& reply)>;
  virtual void ask_all(const std::vector<ChatQuestion>& questions, const Take& take) = 0;

  virtual bool remembers(const ChatQuestion& /*question*/) const { return false; }  // answered without asking
  virtual ChatTally tally() const = 0;
};

ChatReply ask(ChatModel& model, const ChatQuestion& question);
// The replies in the order of the questions, with a progress line of this title.
std::vector<ChatReply> ask_all(ChatModel& model, const std::vector<ChatQuestion>& questions, const std::string& title);

// SHA-256 over the model's identity and everything in the question.
std::string question_key(const std::string& identity, const ChatQuestion& question);

// The reply without the block <think>...</think> in front of it that reasoning models write, trimmed; empty where the
// block has no end.
std::string without_thinking(const std::string& reply);

// Four bytes a token and four tokens a message: what English comes to, good for estimates and no more.
int64_t estimated_tokens(std::string_view text);
int64_t estimated_prompt_tokens(const ChatQuestion& question);

}  // namespace introspect
