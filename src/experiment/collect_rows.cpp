#include "experiment/collect_rows.h"

#include "evaluate/feature_floors.h"
#include "evaluate/floors.h"
#include "evaluate/lenient.h"
#include "experiment/answer_jobs.h"

#include <fmt/format.h>

namespace introspect {

namespace {

// The nearest neighbours among what each variant learnt, and the true answers.
std::vector<Row> feature_floors(const Recipe& recipe, const Dataset& dataset) {
  std::vector<Row> rows;
  for (const Variant& variant : recipe.variants) {
    const bool plain = variant.condition == "trained";
    if (!plain && variant.training.examples == 0 && !variant.training.label_noise) continue;
    const Dataset taught = taught_dataset(dataset, variant.training);
    const std::vector<const Example*> learnt = learnt_examples(taught, variant.training);
    std::vector<Answer> nearest = nearest_neighbour(dataset, learnt, false);
    if (!plain) {
      rows.push_back({"nearest_neighbour", variant.condition, {std::move(nearest)}});
      continue;
    }
    rows.push_back({"none", "nearest_neighbour", {std::move(nearest)}});
    rows.push_back({"none", "nearest_neighbour_layer", {nearest_neighbour(dataset, learnt, true)}});
  }
  rows.push_back({"none", "gold", {gold_answers(dataset)}});
  rows.push_back({"none", "most_frequent_answer", {most_frequent_floor(dataset)}});
  return rows;
}

}  // namespace

std::vector<Row> rows_without_model(const Recipe& recipe, const Dataset& dataset) {
  return recipe.kind == "features" ? feature_floors(recipe, dataset) : floor_rows(dataset);
}

std::vector<Row> collect_rows(const Recipe& recipe, const std::vector<AnswerJob>& jobs, const Dataset& dataset,
                              const FeatureScorer* features, const fs::path& out) {
  std::vector<Row> rows;
  std::vector<std::vector<Answer>> selfie;
  for (const AnswerJob& job : jobs) {
    std::vector<Answer> answers = load_answers(answer_folder(out, job) / "answers.jsonl");
    if (job.condition.starts_with(kSelfiePrefix)) {
      selfie.push_back(std::move(answers));
      continue;
    }
    add_seed(rows, job.explainer, job.condition, answers);
    if (job.untrained && !job.simulation && recipe.kind == "ablation") {
      rows.push_back({job.explainer, job.condition + "_lenient", {read_leniently(dataset, answers)}});
    }
  }
  if (!selfie.empty() && features) {
    rows.push_back({recipe.explainers.front().name,
                    fmt::format("selfie_best_of_{}", selfie.size()),
                    {best_of(dataset, selfie, *features)}});
  }
  for (Row& floor : rows_without_model(recipe, dataset)) rows.push_back(std::move(floor));
  return rows;
}

}  // namespace introspect
