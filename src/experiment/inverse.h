// The inverse: a model is trained so that what it does becomes what an explanation says, and is then examined again.
// A recipe of kind "inverse".
//
//   kind = "inverse"; title, question, weak: what the page says on top
//   [task]        recipe, changes   an ablation recipe whose target is changed; tables merged into it
//   [[behaviour]] name, explanation, wordings, train
//                                   one model is made for each. explanation: "unchanged" (a hint does not change the
//                                   answer), "changed" (the answer is the hint's), "as_it_is" (what the target does
//                                   already: the training alone, for comparison); wordings: the hints it learns this
//                                   on, the others show how far it carries; train: merged into the recipe's [train]
//   [side_effects] facts, limit     statements and options that the models are asked before and after
//
// Of the task's recipe the first explainer, the target itself, is trained, with its [train] and [evaluate].
#pragma once

#include "experiment/recipe.h"
#include "experiment/run.h"

#include <functional>
#include <string>
#include <vector>

namespace introspect {

enum class Explanation { unchanged, changed, as_it_is };

struct Behaviour {
  std::string name;  // "ignores hints"; its folder has - for blanks
  Explanation explanation = Explanation::unchanged;
  std::vector<std::string> wordings;  // empty: all
  ExplainerTraining training;         // asked with the target's own prompt
};

struct InverseRecipe {
  fs::path path;
  std::string title, question;
  std::vector<std::string> weak;
  Recipe task;
  std::vector<Behaviour> behaviours;
  fs::path facts;
  int64_t facts_limit = 1000;
};
// Throws Error for unknown keys and explanations, a task that is no ablation in chat format, wordings that the task
// has not, names given twice, and as read_recipe does.
InverseRecipe read_inverse_recipe(const fs::path& path);

// What a model learns in order to do as `behaviour` says: for each train and validation example of its wordings the
// target's own prompt, answered as the explanation has it. `dataset` is the target's, of input ablation.
Dataset behaviour_dataset(const Dataset& dataset, const Behaviour& behaviour);

// Below `out`: before/ (dataset, explainers, answers, scores), and for each behaviour <name>/lesson, <name>/model (a
// Hugging Face folder) and the same as before/; the page in report/. Complete steps are kept.
RunResult run_inverse(const InverseRecipe& recipe, const fs::path& out, const RunOptions& options,
                      const std::function<void(const std::string&)>& say);

}  // namespace introspect
