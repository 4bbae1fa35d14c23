// The honest introspector of input ablation: a model that is asked how an answer would change runs both prompts itself
// and says what came out.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"
#include "model/model.h"
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

// Answers in the order of the split to the examples of an ablation data set, the prompts being made as its settings
// say with this model's own tokenizer and chat template. Questions whose choices begin with the same token of this
// vocabulary get an empty answer. Throws Error for another task's data set, and where a chat template is needed and
// there is none.
std::vector<Answer> simulate_ablation(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                      Simulation simulation, Split split, int64_t limit);

}  // namespace introspect
