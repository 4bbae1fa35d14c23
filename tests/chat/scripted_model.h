// A chat model that says what a test wants.
#pragma once

#include "chat/chat_model.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace introspect::test {

class ScriptedChatModel : public ChatModel {
 public:
  using Script = std::function<ChatReply(const ChatQuestion&)>;
  explicit ScriptedChatModel(Script script) : script_(std::move(script)) {}
  static ChatReply says(const std::string& text) {
    ChatReply reply;
    reply.text = text;
    return reply;
  }
  static ChatReply refuses(const std::string& why) {
    ChatReply reply;
    reply.refusal = why;
    return reply;
  }

  std::string name() const override { return "scripted"; }
  std::string identity() const override { return "scripted"; }
  void ask_all(const std::vector<ChatQuestion>& questions, const Take& take) override {
    for (size_t i = questions.size(); i-- > 0;) {  // backwards: nobody may rely on the order
      asked.push_back(questions[i]);
      const ChatReply reply = script_(questions[i]);
      ++(reply.refusal.empty() ? tally_.answered : tally_.refused);
      take(i, reply);
    }
  }
  ChatTally tally() const override { return tally_; }

  std::vector<ChatQuestion> asked;

 private:
  Script script_;
  ChatTally tally_;
};

inline ChatQuestion question_of(const std::string& text) {
  ChatQuestion question;
  question.messages = {{"user", text}};
  return question;
}

}  // namespace introspect::test
