#include "experiment/findings.h"

#include "experiment/mixtures.h"
#include "experiment/where_from.h"
#include "explainer/answers.h"
#include "report/row_names.h"
#include "report/table.h"
#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

const Row* FoundIn::row(const std::string& explainer, const std::string& condition) const {
  return find_row(result.rows, explainer, condition);
}

const Score* FoundIn::score(const std::string& explainer, const std::string& condition,
                            const std::string& metric) const {
  return find_score(result.scores, explainer, condition, metric);
}

std::string FoundIn::label(const std::string& explainer, const std::string& condition) const {
  return row_name(explainer, condition, recipe.kind).label;
}

ScoreOptions FoundIn::options() const {
  ScoreOptions options;
  options.features = result.features.get();
  return options;
}

AnswerJob answer_job(const Recipe& recipe, const TrainJob& job) {
  AnswerJob answer{job.name, job.condition, job.seed, job.folder, {}, {}, {}};
  answer.options.compute = recipe.evaluate.compute;
  answer.options.limit = recipe.evaluate.limit;
  answer.options.max_new_tokens = recipe.evaluate.max_new_tokens;
  answer.options.vectors = job.training.vectors;
  answer.options.layers = job.training.layers;
  return answer;
}

std::vector<Row> ask_further(const FoundIn& run, const Dataset& like, const std::vector<Example>& examples,
                             const at::Tensor& vectors, const std::vector<TrainJob>& jobs, const fs::path& folder) {
  Dataset dataset;
  dataset.task = like.task;
  dataset.info = like.info;
  dataset.vectors = vectors;
  dataset.examples = examples;
  for (size_t i = 0; i < examples.size(); ++i) {
    dataset.examples[i].split = Split::test;
    if (vectors.defined()) dataset.examples[i].vector = static_cast<int64_t>(i);
  }
  save_dataset(dataset, folder / "dataset");
  std::vector<AnswerJob> asked;
  for (const TrainJob& job : jobs) {
    asked.push_back(answer_job(run.recipe, job));
    asked.back().options.limit = 0;
  }
  answer_side_by_side(asked, folder / "dataset", folder, run.workers);
  std::vector<Row> rows;
  for (const AnswerJob& job : asked) {
    add_seed(rows, job.explainer, job.condition, load_answers(answer_folder(folder, job) / "answers.jsonl"));
  }
  return rows;
}

std::vector<Finding> findings_of(const FoundIn& run) {
  std::vector<Finding> findings;
  for (const auto& ask : {scaling_findings, projection_findings, noise_findings, reading_findings, where_from_findings,
                          mixture_findings}) {
    for (Finding& finding : ask(run)) findings.push_back(std::move(finding));
  }
  return findings;
}

std::string reached_words(double value, const Interval& interval, double first, double last,
                          const std::function<std::string(double)>& shown) {
  if (std::isnan(value)) return "–";
  if (std::isinf(value)) return "not reached up to " + shown(last);
  const auto end = [&](double x) { return std::isinf(x) ? std::string("not reached") : shown(x); };
  std::string words = value <= first ? "at most " + shown(first) : shown(value);
  if (!std::isnan(interval.low) && !std::isnan(interval.high)) {
    words += fmt::format(" ({} to {})", end(interval.low), end(interval.high));
  }
  return words;
}

}  // namespace introspect
