// The steps of a run, each a folder that is left alone when it is complete.
#pragma once

#include "base/run_record.h"
#include "evaluate/scores.h"
#include "experiment/recipe.h"
#include "explainer/simulation.h"

#include <optional>
#include <string>
#include <vector>

namespace introspect {

// The procedure of the recipe's kind, run on its target. (For features: feature_steps.h.)
void make_dataset_step(const Recipe& recipe, const fs::path& folder);

// Writes projections.safetensors; returns what each map explains.
std::vector<ProjectionQuality> project_step(const fs::path& target, const fs::path& explainer,
                                            const std::vector<int64_t>& layers, const PairedSettings& settings,
                                            const fs::path& folder);

// One row of answers: who answers, under which condition.
struct AnswerJob {
  std::string explainer, condition;
  int64_t seed = 1;
  fs::path model;  // an explainer's folder; or a base model's, if untrained
  AnswerOptions options;
  std::optional<ExplainerConfig> untrained;  // how a base model is asked
  std::optional<Simulation> simulation;      // it is not asked, but runs the prompts itself
  fs::path map = {};  // projections (project_step's folder) that vectors go through on their way to an explainer
                      // without projections of its own; empty: none
};
// answers.jsonl and run.json into `folder`, unless they are there.
void answer_step(const AnswerJob& job, const fs::path& dataset_folder, const fs::path& folder);

// scores.json and comparisons.json; `features` for that task. `settings` and `inputs` are for run.json: they must tell
// these rows from others.
std::vector<Score> evaluate_step(const Dataset& dataset, const std::vector<Row>& rows, const Json& settings,
                                 const std::vector<RunInput>& inputs, const fs::path& folder,
                                 const FeatureScorer* features = nullptr);

}  // namespace introspect
