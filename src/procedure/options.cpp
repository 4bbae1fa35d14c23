#include "procedure/options.h"

#include "base/error.h"
#include "text/chat_template.h"

#include <algorithm>
#include <memory>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::string_view subject_mark = "{subject}";
constexpr std::string_view options_mark = "{options}";

// Where `part` stands in `text`, which must have it exactly once.
size_t only_place(const std::string& text, const std::string& part, std::string_view what) {
  const size_t at = text.find(part);
  if (at == std::string::npos || text.find(part, at + 1) != std::string::npos) {
    fail_usage("prompt", fmt::format("{}: expected \"{}\" exactly once in \"{}\"", what, part, text));
  }
  return at;
}

}  // namespace

std::string statement_text(const std::string& template_text, const std::string& subject) {
  const size_t at = template_text.find(subject_mark);
  if (at == std::string::npos)
    fail("prompt", fmt::format("template: got \"{}\", expected {{subject}} in it", template_text));
  std::string text = template_text;
  return text.replace(at, subject_mark.size(), subject);
}

PromptStyle with_chat_template(PromptStyle style, const Tokenizer& tokenizer, const std::string& system) {
  const auto chat = std::make_shared<const ChatTemplate>(ChatTemplate::of(tokenizer, "the target's chat template"));
  style.add_special = false;  // the template writes its own
  style.chat = [chat, system](const std::string& user, const std::string& cue) {
    ChatRequest request;
    request.messages = Json::array();
    if (!system.empty()) request.messages.push_back({{"role", "system"}, {"content", system}});
    request.messages.push_back({{"role", "user"}, {"content", user}});
    request.messages.push_back({{"role", "assistant"}, {"content", cue}});
    request.continue_final_message = true;
    return chat->render(request);
  };
  return style;
}

TargetPrompt target_prompt(const std::string& template_text, const std::string& subject,
                           const std::vector<std::string>& options, const PromptStyle& style) {
  TargetPrompt prompt;
  const std::string statement = statement_text(template_text, subject);
  prompt.statement = {0, statement.size()};
  prompt.subject.begin = template_text.find(subject_mark);
  prompt.subject.end = prompt.subject.begin + subject.size();

  const size_t mark = only_place(style.instruction, std::string(options_mark), "instruction");
  std::string user = statement + "\n\n" + style.instruction.substr(0, mark);
  for (size_t i = 0; i < options.size(); ++i) {
    if (i > 0) user += style.joiner;
    prompt.options.push_back({user.size(), user.size() + options[i].size()});
    user += options[i];
  }
  if (!style.refusal.empty()) user += style.joiner + style.refusal;
  user += style.instruction.substr(mark + options_mark.size());

  if (!style.chat) {
    prompt.text = user + "\n\n" + style.cue;
    return prompt;
  }
  prompt.text = style.chat(user, style.cue);
  const size_t shift = only_place(prompt.text, user, "chat template");
  if (!prompt.text.ends_with(style.cue)) {
    fail("prompt", fmt::format("chat template: expected the text to end in \"{}\", got \"{}\"", style.cue, prompt.text),
         "the assistant's turn must stay open behind the cue");
  }
  const auto move = [shift](TextRange& range) { range = {range.begin + shift, range.end + shift}; };
  move(prompt.statement);
  move(prompt.subject);
  std::for_each(prompt.options.begin(), prompt.options.end(), move);
  return prompt;
}

std::string option_answer(const std::string& object) {
  return " " + object;
}

std::vector<std::string> choose_options(const Relation& relation, const Fact& fact, const Fact* counterfactual,
                                        size_t count, Random& random) {
  std::vector<std::string> options = {fact.object};
  if (counterfactual != nullptr && counterfactual->object != fact.object) options.push_back(counterfactual->object);
  std::set<std::string> taken(options.begin(), options.end());
  for (const Fact& other : relation.facts) {
    if (other.subject == fact.subject || (counterfactual != nullptr && other.subject == counterfactual->subject)) {
      taken.insert(other.object);
    }
  }
  std::vector<std::string> others = relation.objects();
  std::erase_if(others, [&](const std::string& object) { return taken.contains(object); });
  random.shuffle(others);
  for (size_t i = 0; i < others.size() && options.size() < count; ++i) options.push_back(others[i]);
  random.shuffle(options);
  return options;
}

}  // namespace introspect
