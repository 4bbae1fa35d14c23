// The whole way of an activation-patching recipe: target → data set → explainers → answers → scores → report.
#pragma once

#include "base/run_record.h"
#include "evaluate/scores.h"
#include "experiment/recipe.h"

#include <functional>
#include <optional>
#include <string>

namespace introspect {

struct RunOptions {
  int workers = 2;      // explainers trained, and rows answered, side by side
  std::string command;  // stands in the report
};

struct RunResult {
  std::vector<Score> scores;
  fs::path page;
};

// Each step has its folder below `out` and is skipped when complete: dataset/, projections/<name>/, search/,
// explainers/<name>-<condition>-seed<n>/, answers/<name>-<condition>-seed<n>/, scores/, report/. `say` receives one
// line a step.
RunResult run_patching(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                       const std::function<void(const std::string&)>& say);

// The steps by themselves.
void make_dataset_step(const Recipe& recipe, const fs::path& folder);
// Writes projections.safetensors; returns what each map explains.
std::vector<ProjectionQuality> project_step(const fs::path& target, const fs::path& explainer,
                                            const std::vector<int64_t>& layers, const PairedSettings& settings,
                                            const fs::path& folder);
fs::path train_folder(const fs::path& out, const std::string& name, const std::string& condition, int64_t seed);

// One row of answers: who answers, under which condition.
struct AnswerJob {
  std::string explainer, condition;
  int64_t seed = 1;
  fs::path model;  // an explainer's folder; or a base model's, if untrained
  AnswerOptions options;
  std::optional<ExplainerConfig> untrained;  // how a base model is asked
};
// answers.jsonl and run.json into `folder`, unless they are there.
void answer_step(const AnswerJob& job, const fs::path& dataset_folder, const fs::path& folder);

// scores.json and comparisons.json. `settings` and `inputs` are for run.json: they must tell these rows from others.
std::vector<Score> evaluate_step(const Dataset& dataset, const std::vector<Row>& rows, const Json& settings,
                                 const std::vector<RunInput>& inputs, const fs::path& folder);

}  // namespace introspect
