// The whole way of a recipe: target → data set → explainers → answers → scores → report.
#pragma once

#include "evaluate/score.h"
#include "experiment/recipe.h"
#include "experiment/task_report.h"
#include "experiment/train_jobs.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct RunOptions {
  int workers = 2;              // explainers trained, and rows answered, side by side
  std::string command;          // stands in the report
  std::string title, question;  // above the parts of a page of several recipes
};

struct RunResult {
  std::vector<Score> scores;  // of all recipes
  fs::path page;
  std::string summary;  // what is to be printed in place of the table of scores; may be empty
};

// Each step has its folder and is skipped when complete: dataset/, projections/<name>/, search/,
// explainers/<name>-<condition>-seed<n>/, answers/<name>-<condition>-seed<n>/, scores/, all below `out`, or below
// out/<kind> where several recipes are run; then report/ below `out`. `say` receives one line a step.
// Throws Error for two recipes of one kind.
RunResult run_recipes(const std::vector<Recipe>& recipes, const fs::path& out, const RunOptions& options,
                      const std::function<void(const std::string&)>& say);
// The same, but for the page: its parts, one a recipe.
std::vector<ReportInput> recipe_parts(const std::vector<Recipe>& recipes, const fs::path& out,
                                      const RunOptions& options, const std::function<void(const std::string&)>& say);
// The page of these parts, in out/report.
RunResult write_run(const std::vector<ReportInput>& parts, const fs::path& out, const RunOptions& options);

// The data set of a recipe, in out/dataset.
Dataset make_data(const Recipe& recipe, const fs::path& out, const std::function<void(const std::string&)>& say);

// The data set with as many test examples as are asked (0: all): floors answer the same questions as the explainers.
Dataset limited(const Dataset& dataset, int64_t limit);

// The data set of a recipe, what the search chose, and the explainers as they are to be trained.
struct PreparedTask {
  Dataset dataset;
  std::vector<Trial> trials;
  std::vector<TrainJob> explainers;
};
PreparedTask prepare_task(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                          const std::function<void(const std::string&)>& say);

// Everything of one recipe but the page. `further`: explainers that were trained elsewhere, asked beside its own.
TaskResult run_task(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                    const std::function<void(const std::string&)>& say, const std::vector<TrainJob>& further = {});

}  // namespace introspect
