// From answers to scores, and from scores to a page.
#include "base/error.h"
#include "base/json.h"
#include "base/run_record.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/score_table.h"
#include "evaluate/scores.h"
#include "experiment/collect_rows.h"
#include "experiment/feature_steps.h"
#include "experiment/recipe.h"
#include "experiment/steps.h"
#include "experiment/task_report.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* row_help = "EXPLAINER:CONDITION=answers.jsonl; the same name again is another seed";

struct RowArgument {
  std::string explainer, condition;
  fs::path answers;
};

RowArgument parse_row(const std::string& text) {
  const size_t equals = text.find('='), colon = text.find(':');
  if (equals == std::string::npos || colon == std::string::npos || colon > equals) {
    fail_usage("evaluate", fmt::format("--row: got '{}', expected EXPLAINER:CONDITION=FILE", text));
  }
  return {text.substr(0, colon), text.substr(colon + 1, equals - colon - 1), text.substr(equals + 1)};
}

// The rows that were named, and the floors that need no model.
std::vector<Row> rows_of(const std::vector<std::string>& texts, const Recipe& recipe, const Dataset& dataset) {
  std::vector<Row> rows;
  for (const std::string& text : texts) {
    const RowArgument given = parse_row(text);
    Row* row = nullptr;
    for (Row& each : rows) {
      if (each.explainer == given.explainer && each.condition == given.condition) row = &each;
    }
    if (!row) row = &rows.emplace_back(Row{given.explainer, given.condition, {}});
    row->seeds.push_back(load_answers(given.answers));
  }
  for (Row& floor : rows_without_model(recipe, dataset)) rows.push_back(std::move(floor));
  return rows;
}

// For run.json: what decides the scores is who answered and what.
Json row_names_of(const std::vector<std::string>& texts) {
  Json names = Json::array();
  for (const std::string& text : texts) names.push_back(text.substr(0, text.find('=')));
  return names;
}

std::vector<RunInput> inputs_of(const std::string& dataset, const std::vector<std::string>& texts) {
  std::vector<RunInput> inputs{{"dataset", dataset}};
  for (const std::string& text : texts) inputs.push_back({text.substr(0, text.find('=')), parse_row(text).answers});
  return inputs;
}

// What simulates answers about features; null for other tasks.
std::shared_ptr<const FeatureScorer> scorer_of(const Recipe& recipe, const Dataset& dataset, const fs::path& folder) {
  return recipe.kind == "features" ? feature_scorer(recipe, dataset, folder) : nullptr;
}

void add_evaluate(CLI::App& app) {
  struct Options {
    std::string recipe, dataset, out;
    std::vector<std::string> rows;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("evaluate", "Score answers against the ground truth and the floors");
  command->add_option("--dataset", options->dataset, "folder of the data set")->required();
  command->add_option("--row", options->rows, row_help)->required();
  command->add_option(
      "--recipe", options->recipe,
      "features: its target and facts are those of the descriptions (default: the demo's for the task)");
  command->add_option("--out", options->out, "folder of scores.json and comparisons.json")->required();
  command->footer(
      "Example: introspect evaluate --dataset runs/patches --row self:trained=runs/answers/answers.jsonl "
      "--out runs/scores");
  command->callback([options] {
    const Dataset dataset = load_dataset(options->dataset);
    // other tasks' floors need nothing but the data set
    Recipe recipe;
    recipe.kind = dataset.task;
    if (dataset.task == "features") recipe = read_recipe(find_recipe(options->recipe, dataset.task));
    const auto features = scorer_of(recipe, dataset, options->dataset);
    print_score_table(evaluate_step(dataset, rows_of(options->rows, recipe, dataset),
                                    {{"rows", row_names_of(options->rows)}}, inputs_of(options->dataset, options->rows),
                                    options->out, features.get()));
  });
}

void add_report(CLI::App& app) {
  struct Options {
    std::string recipe, dataset, scores, out;
    std::vector<std::string> rows;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Write the page, its Markdown and its CSV from scores");
  command->add_option("--recipe", options->recipe,
                      "title, question and settings that stand on the page (default: the demo's for the task)");
  command->add_option("--dataset", options->dataset, "folder of the data set")->required();
  command->add_option("--scores", options->scores, "folder that 'introspect evaluate' wrote")->required();
  command->add_option("--row", options->rows, std::string(row_help) + "; for the examples to browse")->required();
  command->add_option("--out", options->out, "folder of report.html, report.md and scores.csv")->required();
  command->footer(
      "Example: introspect report --dataset runs/patches --scores runs/scores "
      "--row self:trained=runs/answers/answers.jsonl --out runs/report");
  command->callback([options] {
    const Dataset dataset = load_dataset(options->dataset);
    const Recipe recipe = read_recipe(find_recipe(options->recipe, dataset.task));
    const fs::path out = options->out, scores = options->scores;
    std::vector<RunInput> inputs = inputs_of(options->dataset, options->rows);
    inputs.push_back({"recipe", recipe.path});
    inputs.push_back({"scores", scores / "scores.json"});
    inputs.push_back({"comparisons", scores / "comparisons.json"});
    RunRecord record(out, "report", {{"rows", row_names_of(options->rows)}}, inputs, /*overwrite=*/true);
    if (record.state() != StepState::complete) {
      const TaskResult result{dataset,
                              {},
                              rows_of(options->rows, recipe, dataset),
                              load_scores(scores / "scores.json"),
                              load_comparisons(scores / "comparisons.json"),
                              {},
                              {},
                              {},
                              scorer_of(recipe, dataset, options->dataset)};
      write_report(report_of(recipe, result,
                             fmt::format("introspect report --recipe {} --dataset {} --scores {} --row ... --out {}",
                                         recipe.path.string(), options->dataset, options->scores, options->out)),
                   out);
      record.complete();
    }
    const fs::path page = out / "report.html";
    std::printf("%s\n", page.c_str());
  });
}

}  // namespace

void add_evaluate_commands(CLI::App& app) {
  add_evaluate(app);
  add_report(app);
}

}  // namespace introspect
