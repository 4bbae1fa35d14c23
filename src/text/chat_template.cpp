#include "text/chat_template.h"

#include "base/error.h"
#include "jinja/strings.h"

#include <fmt/format.h>

namespace introspect {

namespace {

void set(jinja::Dict& variables, const std::string& name, const jinja::Value& value) {
  for (auto& [known, held] : variables) {
    if (known == jinja::Value(name)) {
      held = value;
      return;
    }
  }
  variables.emplace_back(jinja::Value(name), value);
}

// The text that a continued turn ends with: the content, or its last part of text.
std::string final_text(const Json& messages, const std::string& label) {
  const Json& content = messages.empty() ? Json() : messages.back().value("content", Json());
  if (content.is_string()) return content.get<std::string>();
  if (content.is_array()) {
    for (auto part = content.rbegin(); part != content.rend(); ++part) {
      if (part->is_object() && part->contains("text") && (*part)["text"].is_string()) {
        return (*part)["text"].get<std::string>();
      }
    }
  }
  fail("chat template", fmt::format("the final message has no text to continue ({})", label));
}

// Cuts behind the last occurrence of the message. The white space at its end stays if the template kept it.
std::string cut_behind(const std::string& rendered, const std::string& message, const std::string& label) {
  using jinja::Side;
  const std::string core = jinja::stripped(message, Side::both), begun = jinja::stripped(message, Side::left);
  const size_t found = rendered.rfind(core);
  if (found == std::string::npos) {
    fail("chat template", fmt::format("the final message is not in the rendered text ({})", label),
         "the template leaves it out or changes it, so it cannot be continued");
  }
  const bool kept = rendered.compare(found, begun.size(), begun) == 0;
  return rendered.substr(0, found + (kept ? begun : core).size());
}

}  // namespace

ChatRequest parse_chat_request(const Json& json, const std::string& label) {
  if (!json.is_object()) fail("chat template", fmt::format("got no object ({})", label));
  for (const auto& [key, value] : json.items()) {
    if (key != "messages" && key != "add_generation_prompt" && key != "continue_final_message" && key != "kwargs") {
      fail(
          "chat template",
          fmt::format("unknown key '{}', expected messages, add_generation_prompt, continue_final_message, kwargs ({})",
                      key, label));
    }
  }
  ChatRequest request;
  request.messages = json.value("messages", Json());
  request.add_generation_prompt = json_get_or<bool>(json, "add_generation_prompt", false, label);
  request.continue_final_message = json_get_or<bool>(json, "continue_final_message", false, label);
  request.variables = json.value("kwargs", Json());
  return request;
}

ChatTemplate::ChatTemplate(const std::string& source, std::string label,
                           std::map<std::string, std::string> special_tokens)
    : label_(std::move(label)), template_(source, label_), special_tokens_(std::move(special_tokens)) {}

ChatTemplate ChatTemplate::of(const Tokenizer& tokenizer, const std::string& label) {
  if (!tokenizer.chat_template()) {
    fail("chat template", fmt::format("the model has none ({})", label),
         "base models have none: a recipe asks in plain text with chat = false in [dataset.prompt]; a template of your "
         "own stands in tokenizer_config.json as \"chat_template\", or goes to 'introspect chat-template --template'");
  }
  std::map<std::string, std::string> special_tokens;
  for (const auto& [name, id] : {std::pair{"bos_token", tokenizer.bos()}, std::pair{"eos_token", tokenizer.eos()},
                                 std::pair{"pad_token", tokenizer.pad()}}) {
    if (id) special_tokens[name] = tokenizer.token(*id);
  }
  return ChatTemplate(*tokenizer.chat_template(), label, std::move(special_tokens));
}

std::string ChatTemplate::render(const ChatRequest& request) const {
  if (!request.messages.is_array()) fail("chat template", fmt::format("messages: expected a list ({})", label_));
  for (const Json& message : request.messages) {
    if (!message.is_object()) fail("chat template", fmt::format("messages: expected objects ({})", label_));
  }
  if (request.add_generation_prompt && request.continue_final_message) {
    fail("chat template", fmt::format("a prompt for a new turn and a continued turn exclude each other ({})", label_));
  }
  if (!request.variables.is_null() && !request.variables.is_object()) {
    fail("chat template", fmt::format("kwargs: expected an object ({})", label_));
  }
  jinja::Dict variables;
  for (const auto& [name, text] : special_tokens_) set(variables, name, text);
  set(variables, "tools", jinja::None{});
  set(variables, "documents", jinja::None{});
  for (const auto& [name, value] : request.variables.items()) set(variables, name, jinja::Value::from_json(value));
  set(variables, "messages", jinja::Value::from_json(request.messages));
  set(variables, "add_generation_prompt", request.add_generation_prompt);
  std::string rendered = template_.render(variables);
  if (!request.continue_final_message) return rendered;
  return cut_behind(rendered, final_text(request.messages, label_), label_);
}

}  // namespace introspect
