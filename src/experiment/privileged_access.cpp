#include "experiment/privileged_access.h"

#include "evaluate/statistics.h"
#include "report/table.h"
#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

Privilege privilege_of(const MatrixRecipe& recipe, const MatrixTask& task, const MatrixTarget& found) {
  Privilege made;
  made.task = &task;
  made.found = &found;
  made.target = recipe.model(found.target).name;
  made.self = find_score(found.result.scores, "self", "trained", task.metric);
  if (!made.self) {
    made.why = found.refused.empty() ? "it was not asked itself" : "refused";
    return made;
  }
  const std::string size = size_of(recipe.model(found.target));
  for (const size_t each : found.explainers) {
    if (each == found.target || size_of(recipe.model(each)) != size) continue;
    const std::string& name = recipe.model(each).name;
    const auto loss = found.result.validation_loss.find(name);
    if (loss == found.result.validation_loss.end() || !std::isfinite(loss->second)) continue;
    if (!made.other.empty() && loss->second >= made.validation_loss) continue;
    made.other = name;
    made.validation_loss = loss->second;
    made.best = find_score(found.result.scores, name, "trained", task.metric);
  }
  if (!made.best) made.why = "no other explainer of its size (" + size + ") with a validation loss";
  return made;
}

}  // namespace

std::vector<Privilege> privileges(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  std::vector<Privilege> all;
  for (const MatrixTaskResult& result : results) {
    for (const MatrixTarget& found : result.targets) all.push_back(privilege_of(recipe, *result.task, found));
  }
  std::vector<double> p;
  for (const Privilege& each : all) {
    if (each.best) p.push_back(each.best->p_against_self);
  }
  const std::vector<double> corrected = holm(p);
  size_t place = 0;
  for (Privilege& each : all) {
    if (each.best) each.p_holm = corrected[place++];
  }
  return all;
}

NamedTable privilege_table(const std::vector<Privilege>& all) {
  NamedTable table{"Self against the best other explainer of its size",
                   {"task, target", "metric", "self", "the other", "its score", "self minus it", "p", "p, Holm",
                    "items", "clusters", "seeds"},
                   {}};
  for (const Privilege& each : all) {
    const std::string name = each.task->name + ", " + each.target;
    if (!each.best) {
      table.lines.push_back(
          {name, metric_label(each.task->metric), score_shown(each.self), each.why, "–", "–", "–", "–", "–", "–", "–"});
      continue;
    }
    table.lines.push_back(
        {name, metric_label(each.task->metric), score_shown(each.self),
         fmt::format("{} (validation loss {:.3f})", each.other, each.validation_loss), score_shown(each.best),
         difference_shown(-each.best->difference_to_self, -each.best->difference_high, -each.best->difference_low),
         p_cell(each.best->p_against_self), p_cell(each.p_holm), count(each.best->n), count(each.best->clusters),
         std::to_string(each.best->seeds)});
  }
  return table;
}

std::vector<std::string> privilege_sentences(const std::vector<Privilege>& all) {
  std::vector<std::string> sentences;
  int better = 0, worse = 0, tested = 0;
  for (const Privilege& each : all) {
    if (!each.best) continue;
    ++tested;
    const bool shown = each.p_holm < 0.05;
    better += shown && each.best->difference_to_self < 0;
    worse += shown && each.best->difference_to_self > 0;
  }
  if (tested == 0) return {"No target has another explainer of its size, so privileged access was not measured."};
  sentences.push_back(
      fmt::format("Of {} pairs of task and target, self explains its target better than the best other explainer of "
                  "the same size in {} and worse in {}; in "
                  "the others no difference is shown (paired permutation tests, Holm's correction, p < 0.05).",
                  tested, better, worse));
  for (const Privilege& each : all) {
    if (!each.best) continue;
    sentences.push_back(fmt::format(
        "{}, {}: self {}%, {} {}%, privileged access {} points ({}, {}).", each.task->name, each.target,
        score_shown(each.self), each.other, score_shown(each.best), signed_percent(-each.best->difference_to_self),
        signed_interval(-each.best->difference_high, -each.best->difference_low), p_value(each.best->p_against_self)));
  }
  return sentences;
}

}  // namespace introspect
