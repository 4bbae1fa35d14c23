// The whole way of an activation-patching recipe: target → data set → explainers → answers → scores → report.
#pragma once

#include <functional>
#include <string>

#include "evaluate/score.h"
#include "experiment/recipe.h"

namespace introspect {

struct RunOptions {
  int workers = 2;      // explainers trained, and rows answered, side by side
  std::string command;  // stands in the report
};

struct RunResult {
  std::vector<Score> scores;
  fs::path page;
};

// Each step has its folder below `out` and is skipped when complete: dataset/, explainers/<name>-<condition>-seed<n>/,
// answers/<name>-<condition>-seed<n>/, scores/, report/. `say` receives one line a step.
RunResult run_patching(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                       const std::function<void(const std::string&)>& say);

// The steps by themselves.
void make_dataset_step(const Recipe& recipe, const fs::path& folder);
fs::path train_folder(const fs::path& out, const std::string& name, const std::string& condition, int64_t seed);

// One row of answers: who answers, under which condition.
struct AnswerJob {
  std::string explainer, condition;
  int64_t seed = 1;
  fs::path model;       // an explainer's folder; or a base model's, if untrained
  bool untrained = false;
  AnswerOptions options;
};
// answers.jsonl and run.json into `folder`, unless they are there.
void answer_step(const AnswerJob& job, const Recipe& recipe, const fs::path& dataset_folder, const fs::path& folder);

}  // namespace introspect
