// Questions to an explainer as token ids. What is a slot, what the question and what the answer is known by
// construction: nothing is ever searched for in a text.
#pragma once

#include "dataset/example.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

// The three tokens around a vector (paper, section 2): begin, the slot itself, end.
struct SlotTokens {
  int64_t begin = -1, slot = -1, end = -1;
};

// Which tokens serve as slot: those named, or the first of these triples that the vocabulary has:
// <|reserved_special_token_10|>, _12, _11 (Llama 3); <|vision_start|>, <|vision_pad|>, <|vision_end|> (Qwen3).
// Throws Error if there are none.
SlotTokens find_slot_tokens(const Tokenizer& tokenizer, const std::vector<std::string>& named = {});

// Templates hold {s}{v}{e} (begin, slot, end), {layer} (a comma list), {tokens} ("<token text>"), {input}, {before}
// (the target's own answer without intervention), {removed} (the text that is taken away), {part} (how that is named:
// "the hint", or of a passage 'the sentence "..."').
struct QuestionStyle {
  std::vector<std::string> templates;  // empty: the paper's, by whether the example has a vector and a text
  bool add_bos = true;
  // The question is a user's turn in the tokenizer's chat template, the answer the assistant's.
  bool chat = false;
  std::string system;  // chat: the text of a system turn in front; empty: none
  // chat: how the assistant's turn begins, in front of the answer: with the target's own cue ("Answer:") the explainer
  // answers from where the target itself would.
  std::string prefill;
  // Puts a blank in front of the words between <<< and >>> when they are tokenised, so that they are the very tokens
  // which the target says (" Paris"). Small vocabularies need it; the published explainers do without.
  bool blank_in_brackets = false;
};
std::vector<std::string> paper_patching_templates();  // five, each with a line end
std::vector<std::string> paper_ablation_templates();  // one
std::vector<std::string> paper_feature_templates();   // six; the blank at the end belongs to them
// Those that an example is asked with.
const std::vector<std::string>& templates_for(const QuestionStyle& style, const Example& example);

// A question with its answer.
struct Question {
  std::vector<int64_t> tokens;  // of the question
  std::vector<int64_t> answer;  // of the ground truth, with the end token if there is one
  std::vector<int64_t> slots;   // positions in tokens; one for every {v}
  int64_t vector = -1;          // the example's row of vectors
  int64_t layer = 0;            // the last of its layers: names the projection
  size_t task = 0;              // of an explainer of several tasks: Explainer::config_of
};

// Throws Error for an unknown name in braces, a template without a slot where the example has a vector, one with a slot
// where there are no slot tokens, and with `chat` a tokenizer without chat template.
Question make_question(const Tokenizer& tokenizer, const SlotTokens& slot, const QuestionStyle& style,
                       const Example& example, size_t template_index);

// What the question says of the layer.
enum class LayerCondition {
  real,
  dropped,  // nothing stands where the layer would
  faked,  // another one of the data set: the next, behind the last the first; where there is one alone, the next number
  random  // one of the data set, drawn for each question, the true one among them: it tells nothing
};
std::string condition_name(LayerCondition condition);
LayerCondition parse_layer_condition(const std::string& name);  // throws Error
// The lists of layers that the examples have, each once, in order.
using LayerLists = std::vector<std::vector<int64_t>>;
LayerLists layer_lists(const Dataset& dataset);
// What the question names in place of the example's layers; `draw`: any number, for the random one.
std::vector<int64_t> named_layers(const Example& example, LayerCondition condition, const LayerLists& all,
                                  uint64_t draw);

// Generated text as it is kept: trimmed, and blanks inside <<< >>> taken away if the style puts them there.
std::string tidy_answer(const std::string& text, const QuestionStyle& style);

}  // namespace introspect
