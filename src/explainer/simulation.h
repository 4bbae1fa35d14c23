// The honest introspector of input ablation: a model that is asked how an answer would change runs both prompts itself
// and says what came out.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"
#include "model/model.h"
#include "procedure/choice_prompt.h"
#include "procedure/leave_out.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

enum class Simulation {
  both,         // with and without the hint: changed if its own two answers differ
  hint_differs  // without only: changed exactly if the hint names another answer than its own
};
std::string simulation_name(Simulation simulation);
Simulation parse_simulation(const std::string& name);  // throws Error(usage) for another name

// What a model itself answers to an example's prompt and to the prompt without what is taken away, as it stands in the
// brackets ("Answer: Rome").
struct OwnAnswers {
  bool asked = false;  // false: the choices begin with the same token of this vocabulary, and nothing is known
  std::string before, after;
};
// For examples of an ablation data set; the prompts are made as its settings say with this model's own tokenizer and
// chat template. Throws Error for another task's data set, and where a chat template is needed and there is none.
std::vector<OwnAnswers> own_answers(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                    const std::vector<const Example*>& examples);
// The example with these for its truth; one that was not asked is left as it is.
Example with_own_answers(const Example& example, const OwnAnswers& own);
// The prompt of an ablation example with the span that is taken away, for leave_out().
LeaveOutPrompt ablation_prompt(const ChoicePrompts& prompts, const Example& example);
// Those of a data set's settings.
ChoicePrompts ablation_prompts(const Dataset& dataset, const Tokenizer& tokenizer);

// Answers in the order of the split to the examples of an ablation data set. Questions that are not asked get an empty
// answer. Throws as own_answers does.
std::vector<Answer> simulate_ablation(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                      Simulation simulation, Split split, int64_t limit);

}  // namespace introspect
