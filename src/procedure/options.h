// The prompt that the target answers: a statement up to its object, then the options in words.
//
//   The capital of France is
//
//   Respond with one of Rome or Paris or Oslo or Cairo or Lima or unknown and nothing else.
//
//   Response:
//
// The answer is " Paris": a blank and the object.
#pragma once

#include "base/random.h"
#include "procedure/records.h"
#include "text/tokenizer.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace introspect {

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0, end = 0;
  bool overlaps(const TextRange& other) const { return begin < other.end && other.begin < end; }
};

struct PromptStyle {
  std::string instruction = "Respond with one of {options} and nothing else.";  // {options} exactly once
  std::string joiner = " or ";
  std::string refusal = "unknown";  // stands last among the options and is never right; empty: left out
  std::string cue = "Response:";    // the answer follows it

  // A chat template: the text for a user turn ("statement, empty line, instruction") and the beginning of the
  // assistant's turn (the cue). It must keep both as they are. Not set: the plain text, an empty line between them.
  std::function<std::string(const std::string& user, const std::string& cue)> chat;
  bool add_special = true;  // let the tokenizer put its BOS in front; a chat template usually writes its own
};

// The style with the tokenizer's own chat template: a system turn if `system` is not empty, the user's turn, and the
// assistant's begun with the cue. Throws Error for a tokenizer without template.
PromptStyle with_chat_template(PromptStyle style, const Tokenizer& tokenizer, const std::string& system);

struct TargetPrompt {
  std::string text;
  TextRange statement, subject;    // the subject lies inside the statement
  std::vector<TextRange> options;  // as the options were given; without the refusal
};

// The statement up to its object: the template with its subject.
std::string statement_text(const std::string& template_text, const std::string& subject);

// Throws Error for a style whose instruction or chat template loses a part.
TargetPrompt target_prompt(const std::string& template_text, const std::string& subject,
                           const std::vector<std::string>& options, const PromptStyle& style = {});

// The words that answer the prompt, as they follow the cue.
std::string option_answer(const std::string& object);

// Up to `count` options in random order: the object of `fact`, then that of `counterfactual` if it is not null, then
// others of the relation. Objects that the relation also gives to one of the two subjects are no wrong options and are
// left out. A relation with fewer objects gives as many as there are: without a counterfactual that may be one.
std::vector<std::string> choose_options(const Relation& relation, const Fact& fact, const Fact* counterfactual,
                                        size_t count, Random& random);

}  // namespace introspect
