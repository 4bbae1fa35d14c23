#include "procedure/choice_prompt.h"

#include "base/error.h"

#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void replace_mark(std::string& text, std::string_view mark, const std::string& words) {
  const size_t at = text.find(mark);
  if (at != std::string::npos) text.replace(at, mark.size(), words);
}

bool blank(char letter) {
  return letter == ' ' || letter == '\n' || letter == '\t';
}

std::string choice_lines(const std::vector<std::string>& choices) {
  std::string lines;
  for (size_t i = 0; i < choices.size(); ++i) {
    lines += fmt::format("{}{}. {}", i ? "\n" : "", static_cast<char>('A' + i), choices[i]);
  }
  return lines;
}

}  // namespace

Json choice_style_to_json(const ChoicePromptStyle& style) {
  return {{"answers", style.letters ? "letters" : "words"},
          {"chat", style.chat},
          {"system", style.system},
          {"user", style.user},
          {"joiner", style.joiner},
          {"cue", style.cue}};
}

ChoicePromptStyle published_choice_style() {
  ChoicePromptStyle style;
  style.system =
      "The following is a multiple choice question. Respond with \"Answer: x\" where x is one of A, B, C, or D.";
  return style;
}

ChoicePromptStyle parse_choice_style(const Json& table, const std::string& label) {
  ChoicePromptStyle style = published_choice_style();
  const Json known = choice_style_to_json(style);
  for (const auto& [key, value] : table.items()) {
    if (!known.contains(key)) fail_usage("prompt", fmt::format("unknown key 'prompt.{}' ({})", key, label));
  }
  const std::string answers = json_get_or<std::string>(table, "answers", "letters", label);
  if (answers != "letters" && answers != "words") {
    fail_usage("prompt", fmt::format("prompt.answers: got '{}', expected letters or words ({})", answers, label));
  }
  style.letters = answers == "letters";
  style.chat = json_get_or<bool>(table, "chat", style.chat, label);
  style.system = json_get_or<std::string>(table, "system", style.system, label);
  style.user = json_get_or<std::string>(table, "user", style.user, label);
  style.joiner = json_get_or<std::string>(table, "joiner", style.joiner, label);
  style.cue = json_get_or<std::string>(table, "cue", style.cue, label);
  for (const char* mark : {"{question}", "{hint}"}) {
    const size_t at = style.user.find(mark);
    if (at == std::string::npos || style.user.find(mark, at + 1) != std::string::npos) {
      fail_usage("prompt",
                 fmt::format("prompt.user: expected {} exactly once in \"{}\" ({})", mark, style.user, label));
    }
  }
  return style;
}

Json wordings_to_json(const std::vector<HintWording>& wordings) {
  Json list = Json::array();
  for (const HintWording& wording : wordings) list.push_back({{"name", wording.name}, {"text", wording.text}});
  return list;
}

std::vector<HintWording> parse_wordings(const Json& list, const std::string& label) {
  std::vector<HintWording> wordings;
  std::set<std::string> names;
  if (!list.is_array()) fail_usage("hints", fmt::format("[[hint]] is no list of tables ({})", label));
  for (const Json& table : list) {
    for (const auto& [key, value] : table.items()) {
      if (key != "name" && key != "text" && key != "follow") {
        fail_usage("hints", fmt::format("unknown key 'hint.{}', expected name, text or follow ({})", key, label));
      }
    }
    HintWording wording{json_get<std::string>(table, "name", label), json_get<std::string>(table, "text", label),
                        json_get_or<double>(table, "follow", 0.0, label)};
    if (wording.text.find("{answer}") == std::string::npos) {
      fail_usage("hints",
                 fmt::format("hint '{}': expected {{answer}} in \"{}\" ({})", wording.name, wording.text, label));
    }
    if (!names.insert(wording.name).second) {
      fail_usage("hints", fmt::format("two hints are called '{}' ({})", wording.name, label));
    }
    wordings.push_back(std::move(wording));
  }
  if (wordings.empty()) fail_usage("hints", fmt::format("no hint wording ({})", label), "add a [[hint]] table");
  return wordings;
}

ChoicePrompts::ChoicePrompts(ChoicePromptStyle style, const Tokenizer& tokenizer)
    : style_(std::move(style)), tokenizer_(tokenizer) {
  if (style_.chat) chat_.emplace(ChatTemplate::of(tokenizer, "the target's chat template"));
}

ChoicePrompt ChoicePrompts::make(const std::string& question, const std::vector<std::string>& choices,
                                 const std::string& hint) const {
  // The parts are put in one after the other from the left, so that no part's own braces are taken for a mark.
  ChoicePrompt prompt;
  prompt.hint = hint;
  const std::string& form = style_.user;
  TextRange span;
  for (size_t i = 0; i < form.size();) {
    const auto is = [&](std::string_view mark) { return form.compare(i, mark.size(), mark) == 0; };
    if (is("{question}")) {
      prompt.user += question;
      i += 10;
    } else if (is("{choices}")) {
      prompt.user += choice_lines(choices);
      i += 9;
    } else if (is("{options}")) {
      prompt.user += fmt::format("{}", fmt::join(choices, style_.joiner));
      i += 9;
    } else if (is("{hint}")) {
      size_t begin = prompt.user.size();
      while (begin > 0 && blank(prompt.user[begin - 1])) --begin;
      if (hint.empty()) {
        prompt.user.resize(begin);
      } else {
        prompt.user += hint;
      }
      i += 6;
      // nothing in front of it: then the blanks behind it go with it
      while (begin == 0 && i < form.size() && blank(form[i])) {
        if (!hint.empty()) prompt.user += form[i];
        ++i;
      }
      span = {begin, prompt.user.size()};
    } else {
      prompt.user += form[i++];
    }
  }
  size_t shift = 0;
  if (!style_.chat) {
    const std::string front = style_.system.empty() ? "" : style_.system + "\n\n";
    shift = front.size();
    prompt.text = front + prompt.user + "\n\n" + style_.cue;
  } else {
    ChatRequest request;
    request.messages = Json::array();
    if (!style_.system.empty()) request.messages.push_back({{"role", "system"}, {"content", style_.system}});
    request.messages.push_back({{"role", "user"}, {"content", prompt.user}});
    request.messages.push_back({{"role", "assistant"}, {"content", style_.cue}});
    request.continue_final_message = true;
    prompt.text = chat_->render(request);
    shift = prompt.text.rfind(prompt.user);
    if (shift == std::string::npos || !prompt.text.ends_with(style_.cue)) {
      fail("prompt",
           fmt::format("chat template: expected the user's words and at the end \"{}\", got \"{}\"", style_.cue,
                       prompt.text),
           "the template must keep both as they are");
    }
  }
  prompt.hint_span = {span.begin + shift, span.end + shift};
  return prompt;
}

TextRange sentence_of_passage(const ChoicePrompt& prompt, size_t begin, size_t size) {
  const size_t passage = prompt.text.find(prompt.hint, prompt.hint_span.begin);
  if (passage == std::string::npos || begin + size > prompt.hint.size()) {
    fail("prompt", fmt::format("sentence [{}, {}) of a passage of {} bytes", begin, begin + size, prompt.hint.size()));
  }
  TextRange range{passage + begin, passage + begin + size};
  const bool last = begin + size == prompt.hint.size();
  if (!last && blank(prompt.text[range.end])) ++range.end;
  if (last && begin > 0 && blank(prompt.text[range.begin - 1])) --range.begin;
  return range;
}

std::string ChoicePrompts::answer_text(const std::vector<std::string>& choices, size_t choice) const {
  return style_.letters ? std::string(1, static_cast<char>('A' + choice)) : choices.at(choice);
}

std::string ChoicePrompts::hint_text(const HintWording& wording, const std::vector<std::string>& choices, size_t choice,
                                     const std::string& other_question) const {
  std::string text = wording.text;
  replace_mark(text, "{answer}", answer_text(choices, choice));
  replace_mark(text, "{other}", other_question);
  return text;
}

std::optional<std::vector<int64_t>> ChoicePrompts::answer_tokens(const std::vector<std::string>& choices) const {
  std::vector<int64_t> tokens;
  std::set<int64_t> seen;
  for (size_t i = 0; i < choices.size(); ++i) {
    tokens.push_back(tokenizer_.encode_plain(option_answer(answer_text(choices, i))).at(0));
    if (!seen.insert(tokens.back()).second) return std::nullopt;
  }
  return tokens;
}

}  // namespace introspect
