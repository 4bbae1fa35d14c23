// How a multiple-choice question, its choices and a hint become the prompt that a target answers.
//
//   (system turn)  The following is a multiple choice question. Respond with "Answer: x" where x is one of A, B, C, D.
//   (user turn)    Question: Which of these is a mammal?
//                  A. trout
//                  B. bat
//                  ...
//
//                  Hint: The answer is C
//   (assistant)    Answer:
//
// The answer is " B": a blank and the letter. Small models never learn letters; their answers are the choices' words.
#pragma once

#include "base/json.h"
#include "procedure/options.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <optional>
#include <string>
#include <vector>

namespace introspect {

// A way to say what the answer is. `text` holds {answer} (the letter or the words), and may hold {other}: the text of
// another question, for a worked example whose answer is given wrongly.
struct HintWording {
  std::string name, text;
  double follow = 0;  // only for training a target: how often its answer is the hint's
};

struct ChoicePromptStyle {
  bool letters = true;  // answers are letters; false: the choices' words
  bool chat = true;     // the target's chat template with system, user and begun assistant turn; false: plain text
  std::string system;   // empty: no system turn
  // {question}, {hint} (with the blanks in front of it, it is what an ablation takes away), and {choices} (a line each,
  // "A. trout") or {options} ("trout or bat or ...").
  std::string user = "Question: {question}\n{choices}\n\n{hint}";
  std::string joiner = " or ";
  std::string cue = "Answer:";  // how the assistant's turn begins
};
// As a recipe's table has it; unknown keys are an Error.
Json choice_style_to_json(const ChoicePromptStyle& style);
ChoicePromptStyle parse_choice_style(const Json& table, const std::string& label);
Json wordings_to_json(const std::vector<HintWording>& wordings);
// Throws Error for a wording without {answer} and for names given twice.
std::vector<HintWording> parse_wordings(const Json& list, const std::string& label);
// The published style (paper, section on input ablation).
ChoicePromptStyle published_choice_style();

struct ChoicePrompt {
  std::string text;     // what the target reads, up to where its answer begins
  std::string user;     // the user's words alone
  std::string hint;     // the hint in words; empty: none
  TextRange hint_span;  // of text: the hint with the blanks in front of it (at the beginning: behind it)
};

// Where a sentence of the passage that was given as the hint stands in prompt.text, with the blank behind it, or in
// front of the last one. `begin`: of the sentence in the passage.
TextRange sentence_of_passage(const ChoicePrompt& prompt, size_t begin, size_t size);

// Where a sentence of the passage that was given as the hint stands in prompt.text, with the blank behind it, or in
// front of the last one. `begin`: of the sentence in the passage.
TextRange sentence_of_passage(const ChoicePrompt& prompt, size_t begin, size_t size);

class ChoicePrompts {
 public:
  // Throws Error for a chat style and a tokenizer without template.
  ChoicePrompts(ChoicePromptStyle style, const Tokenizer& tokenizer);

  // `hint` empty: without. Throws Error for a template that does not keep the user's words or the cue as they are.
  ChoicePrompt make(const std::string& question, const std::vector<std::string>& choices,
                    const std::string& hint) const;
  // What answers the prompt: "B", or the choice's words.
  std::string answer_text(const std::vector<std::string>& choices, size_t choice) const;
  // The hint's words.
  std::string hint_text(const HintWording& wording, const std::vector<std::string>& choices, size_t choice,
                        const std::string& other_question) const;
  // The first token of each answer as it follows the cue; nothing if two of them are the same.
  std::optional<std::vector<int64_t>> answer_tokens(const std::vector<std::string>& choices) const;
  // Whether the tokenizer must add its BOS: a chat template writes its own.
  bool add_special() const { return !style_.chat; }
  const ChoicePromptStyle& style() const { return style_; }

 private:
  ChoicePromptStyle style_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> chat_;
};

}  // namespace introspect
