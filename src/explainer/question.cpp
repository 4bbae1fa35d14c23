#include "explainer/question.h"

#include "base/error.h"
#include "text/chat_template.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string trim(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// The answer's tokens: three pieces, so that the words in the brackets are tokenised by themselves.
std::vector<int64_t> answer_tokens(const Tokenizer& tokenizer, const QuestionStyle& style, const std::string& answer) {
  const size_t open = answer.find("<<<"), close = answer.rfind(">>>");
  std::vector<int64_t> tokens;
  const auto append = [&](const std::string& text) {
    for (int64_t id : tokenizer.encode_plain(text)) tokens.push_back(id);
  };
  if (style.blank_in_brackets && open != std::string::npos && close != std::string::npos && close > open) {
    append(answer.substr(0, open + 3));
    append(" " + trim(answer.substr(open + 3, close - open - 3)));
    append(answer.substr(close));
  } else {
    append(answer);
  }
  if (tokenizer.eos()) tokens.push_back(*tokenizer.eos());
  return tokens;
}

// What a chat template puts around a user's words, up to where the assistant's begin.
struct Turn {
  std::vector<int64_t> before, after;
};

Turn user_turn(const Tokenizer& tokenizer, const QuestionStyle& style) {
  static const std::string mark = "\x01question\x01";
  ChatRequest request;
  request.messages = Json::array();
  if (!style.system.empty()) request.messages.push_back({{"role", "system"}, {"content", style.system}});
  request.messages.push_back({{"role", "user"}, {"content", mark}});
  request.add_generation_prompt = style.prefill.empty();
  request.continue_final_message = !style.prefill.empty();
  if (!style.prefill.empty()) request.messages.push_back({{"role", "assistant"}, {"content", style.prefill}});
  const std::string text = ChatTemplate::of(tokenizer, "the explainer's chat template").render(request);
  const size_t at = text.find(mark);
  if (at == std::string::npos) fail("explainer", "the chat template does not show what the user says");
  return {tokenizer.encode(text.substr(0, at), false), tokenizer.encode(text.substr(at + mark.size()), false)};
}

}  // namespace

SlotTokens find_slot_tokens(const Tokenizer& tokenizer, const std::vector<std::string>& named) {
  std::vector<std::vector<std::string>> candidates = {
      {"<|reserved_special_token_10|>", "<|reserved_special_token_12|>", "<|reserved_special_token_11|>"},
      {"<|vision_start|>", "<|vision_pad|>", "<|vision_end|>"}};
  if (!named.empty()) {
    if (named.size() != 3) fail_usage("explainer", fmt::format("slot tokens: got {}, expected 3", named.size()));
    candidates = {named};
  }
  for (const auto& triple : candidates) {
    const auto begin = tokenizer.id(triple[0]), slot = tokenizer.id(triple[1]), end = tokenizer.id(triple[2]);
    if (begin && slot && end) return {*begin, *slot, *end};
  }
  fail("explainer",
       named.empty() ? "the vocabulary has no tokens that could serve as slot"
                     : fmt::format("the vocabulary lacks one of {}", fmt::join(named, ", ")),
       "name three unused special tokens in the recipe: slot_tokens = [begin, slot, end]");
}

std::vector<std::string> paper_patching_templates() {
  return {
      "If feature {s}{v}{e} at layer {layer} is added to tokens {tokens} when processing the text <<<{input}>>>, how "
      "would the output change?\n",
      "When feature {s}{v}{e} at layer {layer} is added at tokens {tokens} in the input <<<{input}>>>, what happens to "
      "the model's output?\n",
      "Consider the input text: <<<{input}>>>. If we steer layer {layer} towards feature {s}{v}{e} at tokens {tokens}, "
      "how does this affect the generated continuation?\n",
      "Given the text <<<{input}>>>, what would be the effect on the output if feature {s}{v}{e} at layer {layer} is "
      "added to tokens {tokens}?\n",
      "If we steer towards feature {s}{v}{e} at layer {layer} and tokens {tokens} when processing <<<{input}>>>, how "
      "would the model's response differ?\n"};
}

std::vector<std::string> paper_ablation_templates() {
  return {"{input}\n\nIf the hint were removed how would the assistant answer change?"};
}

std::vector<std::string> paper_feature_templates() {
  return {"At layer {layer}, {s}{v}{e} encodes ",
          "{s}{v}{e} activates at layer {layer} for ",
          "We can describe {s}{v}{e} at layer {layer} as encoding ",
          "Generate a description of this feature at layer {layer}: {s}{v}{e}. ",
          "What does {s}{v}{e} encode at layer {layer}? ",
          "{s}{v}{e} activates at layer {layer} for inputs with the following features: "};
}

const std::vector<std::string>& templates_for(const QuestionStyle& style, const Example& example) {
  static const std::vector<std::string> patching = paper_patching_templates(), ablation = paper_ablation_templates(),
                                        feature = paper_feature_templates();
  if (!style.templates.empty()) return style.templates;
  if (example.vector < 0) return ablation;
  return example.input.empty() ? feature : patching;
}

Question make_question(const Tokenizer& tokenizer, const SlotTokens& slot, const QuestionStyle& style,
                       const Example& example, size_t template_index) {
  const std::vector<std::string>& templates = templates_for(style, example);
  const std::string& text = templates.at(template_index % templates.size());

  Question question;
  question.vector = example.vector;
  question.layer = example.layers.empty() ? 0 : example.layers.back();
  const Turn turn = style.chat ? user_turn(tokenizer, style) : Turn{};
  if (style.chat) {
    question.tokens = turn.before;
  } else if (style.add_bos && tokenizer.bos()) {
    question.tokens.push_back(*tokenizer.bos());
  }
  std::string pending;  // text since the last special token
  const auto flush = [&] {
    for (int64_t id : tokenizer.encode_plain(pending)) question.tokens.push_back(id);
    pending.clear();
  };
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '{') {
      pending += text[i++];
      continue;
    }
    const size_t close = text.find('}', i);
    const std::string name = close == std::string::npos ? "" : text.substr(i + 1, close - i - 1);
    if (name == "s" || name == "v" || name == "e") {
      if (slot.slot < 0 || (name == "v" && example.vector < 0)) {
        fail_usage("explainer", fmt::format("question template with {{v}}, but there is no vector (\"{}\")", text));
      }
      flush();
      if (name == "v") question.slots.push_back(std::ssize(question.tokens));
      question.tokens.push_back(name == "s" ? slot.begin : name == "v" ? slot.slot : slot.end);
    } else if (name == "layer") {
      pending += fmt::format("{}", fmt::join(example.layers, ", "));
    } else if (name == "tokens") {
      pending += "<" + example.token + ">";
    } else if (name == "input") {
      pending += example.input;
    } else if (name == "before") {
      pending += example.before;
    } else if (name == "removed") {
      pending += example.token;
    } else if (name == "part") {
      const auto part = example.attributes.find("part");
      pending += part == example.attributes.end() ? "the hint" : part->second;
    } else {
      fail_usage("explainer", fmt::format("question template: unknown '{{{}}}' in \"{}\"", name, text),
                 "known are {s} {v} {e} {layer} {tokens} {input} {before} {removed} {part}");
    }
    i = close + 1;
  }
  flush();
  question.tokens.insert(question.tokens.end(), turn.after.begin(), turn.after.end());
  if (example.vector >= 0 && question.slots.empty()) {
    fail_usage("explainer",
               fmt::format("question template without {{v}}: the vector would not be seen (\"{}\")", text));
  }
  question.answer = answer_tokens(tokenizer, style, example.answer);
  return question;
}

namespace {

constexpr std::pair<const char*, LayerCondition> layer_conditions[] = {{"real", LayerCondition::real},
                                                                       {"dropped", LayerCondition::dropped},
                                                                       {"faked", LayerCondition::faked},
                                                                       {"random", LayerCondition::random}};

}  // namespace

std::string condition_name(LayerCondition condition) {
  for (const auto& [name, each] : layer_conditions) {
    if (each == condition) return name;
  }
  fail("explainer", "a layer condition without a name");
}

LayerCondition parse_layer_condition(const std::string& name) {
  for (const auto& [each, condition] : layer_conditions) {
    if (name == each) return condition;
  }
  fail_usage("explainer", fmt::format("layers: got '{}', expected real, dropped, faked or random", name));
}

LayerLists layer_lists(const Dataset& dataset) {
  LayerLists lists;
  for (const Example& example : dataset.examples) {
    if (!example.layers.empty()) lists.push_back(example.layers);
  }
  std::sort(lists.begin(), lists.end());
  lists.erase(std::unique(lists.begin(), lists.end()), lists.end());
  return lists;
}

std::vector<int64_t> named_layers(const Example& example, LayerCondition condition, const LayerLists& all,
                                  uint64_t draw) {
  if (condition == LayerCondition::real || example.layers.empty()) return example.layers;
  if (condition == LayerCondition::dropped) return {};
  if (condition == LayerCondition::random) return all.at(draw % all.size());
  const auto next = std::upper_bound(all.begin(), all.end(), example.layers);
  if (next != all.end()) return *next;
  return all.size() > 1 ? all.front() : std::vector<int64_t>{example.layers.back() + 1};
}

std::string tidy_answer(const std::string& text, const QuestionStyle& style) {
  std::string tidy = trim(text);
  const size_t open = tidy.find("<<<"), close = tidy.rfind(">>>");
  if (!style.blank_in_brackets || open == std::string::npos || close == std::string::npos || close < open + 3) {
    return tidy;
  }
  return tidy.substr(0, open + 3) + trim(tidy.substr(open + 3, close - open - 3)) + tidy.substr(close);
}

}  // namespace introspect
