// Chat templates: messages to the text a model was tuned on, to the letter as transformers renders it.
#pragma once

#include "base/json.h"
#include "jinja/template.h"
#include "text/tokenizer.h"

#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace introspect {

struct ChatRequest {
  Json messages;                       // [{"role": ..., "content": ...}, ...]
  bool add_generation_prompt = false;  // end with the beginning of the assistant's turn
  bool continue_final_message =
      false;       // end right behind the last message's text: a prefilled turn. Excludes the above
  Json variables;  // more for the template: enable_thinking, tools, date_string, ...
};
// {"messages", "add_generation_prompt", "continue_final_message", "kwargs"}; unknown keys are an Error.
ChatRequest parse_chat_request(const Json& json, const std::string& label);

class ChatTemplate {
 public:
  // `special_tokens`: "bos_token", "eos_token", ... to their text; what is not there is undefined for the template.
  // Throws Error for a template that is broken or uses what is not supported, with its line.
  ChatTemplate(const std::string& source, std::string label, std::map<std::string, std::string> special_tokens);
  // A model's own. Throws Error if it has none.
  static ChatTemplate of(const Tokenizer& tokenizer, const std::string& label);

  // Throws Error for messages that are no list of objects, for what the template raises (roles that must alternate),
  // and for a final message that the template leaves out when it is to be continued.
  // The text has its special tokens in it: encode it without adding others.
  std::string render(const ChatRequest& request) const;

 private:
  std::string label_;
  jinja::Template template_;
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace introspect
