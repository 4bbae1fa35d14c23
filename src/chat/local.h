// A chat model in this process: any model folder that introspect opens.
#pragma once

#include "chat/chat_model.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <optional>
#include <string>
#include <vector>

namespace introspect {

// Questions go through the model's chat template; without one they are written out plainly:
//   <system>\n\nUser: <user>\nAssistant: <assistant>\nUser: <user>\nAssistant:
// and the reply ends in front of "\nUser:". Greedy questions run in batches; with a temperature each runs alone, its
// random numbers named by the question, so that an answer depends on nothing but the question. One that does not fit
// the model's positions is refused.
class LocalChatModel : public ChatModel {
 public:
  // `identity` tells this model from others with the same name: a hash of its folder. `stop_tokens`: what ends a turn.
  LocalChatModel(std::string name, std::string identity, Model model, Tokenizer tokenizer,
                 std::vector<int64_t> stop_tokens);

  std::string name() const override { return name_; }
  std::string identity() const override { return identity_; }
  void ask_all(const std::vector<ChatQuestion>& questions, const Take& take) override;
  ChatTally tally() const override { return tally_; }

  std::vector<int64_t> prompt_of(const ChatQuestion& question) const;

 private:
  std::string name_, identity_;
  Model model_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
  std::vector<int64_t> stop_tokens_;
  ChatTally tally_;
};

}  // namespace introspect
