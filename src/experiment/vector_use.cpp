// What explainers take from the vector, and not from the question's words.
#include "experiment/vector_use.h"

#include "report/row_names.h"
#include "report/table.h"
#include "report/words.h"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

const Score* best_control(const std::vector<Score>& scores, const Score& own) {
  const Score* best = nullptr;
  for (const Score& score : scores) {
    if (score.explainer != own.explainer || score.metric != own.metric || score.group != own.group) continue;
    if (row_name(score.explainer, score.condition, score.task).kind != RowKind::ablation) continue;
    if (score.condition.starts_with("layer_") || !std::isfinite(score.value)) continue;
    if (!best || score.value > best->value) best = &score;
  }
  return best;
}

std::vector<VectorUse> vector_uses(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  std::vector<VectorUse> uses;
  for (const MatrixTaskResult& result : results) {
    // of self alone the matrix of scores says it
    if (result.task->json.at("evaluate").value("vectors_of", "self") != "all") continue;
    const std::string& metric = result.task->metric;
    for (const MatrixTarget& found : result.targets) {
      for (const size_t each : found.explainers) {
        const std::string name = row_of(recipe, found, each);
        const Score* own = find_score(found.result.scores, name, "trained", metric);
        const Score* best = own ? best_control(found.result.scores, *own) : nullptr;
        if (!best) continue;
        const auto less = paired_difference(found.result, metric, name, "trained", best->condition);
        if (!less) continue;
        uses.push_back({result.task->name, recipe.model(found.target).name, recipe.model(each).name,
                        each == found.target, own, best, *less, 1});
      }
    }
  }
  std::vector<double> p;
  for (const VectorUse& use : uses) p.push_back(use.less.p);
  const std::vector<double> corrected = holm(p);
  for (size_t i = 0; i < uses.size(); ++i) uses[i].p_holm = corrected[i];
  return uses;
}

NamedTable vector_use_table(const std::vector<VectorUse>& uses) {
  NamedTable table{"What each explainer takes from the vector",
                   {"task, target, explainer", "with its vector", "with another one", "which",
                    "the first less the second", "p", "p, Holm"},
                   {}};
  for (const VectorUse& use : uses) {
    const std::string label = row_name(use.best->explainer, use.best->condition, use.task).label;
    table.lines.push_back({use.task + ", " + use.target + ", " + use.explainer, score_shown(use.own),
                           score_shown(use.best), label.substr(label.find(", ") + 2),
                           difference_shown(use.less.value, use.less.low, use.less.high), p_cell(use.less.p),
                           p_cell(use.p_holm)});
  }
  return table;
}

std::string vector_use_sentence(const std::vector<VectorUse>& uses) {
  size_t shown[2] = {0, 0}, all[2] = {0, 0};
  for (const VectorUse& use : uses) {
    ++all[use.self];
    shown[use.self] += use.p_holm < 0.05 && use.less.value > 0;
  }
  return fmt::format(
      "With its own vector and not another one, an explainer is shown to do better in {} of {} cases where it is its "
      "own "
      "target, and in {} of {} others (paired permutation tests, Holm's correction, p < 0.05).",
      shown[1], all[1], shown[0], all[0]);
}

}  // namespace introspect
