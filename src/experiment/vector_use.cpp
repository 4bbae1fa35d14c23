// What explainers take from the vector, and not from the question's words.
#include "experiment/matrix_report.h"
#include "report/row_names.h"
#include "report/table.h"
#include "report/words.h"

#include <cmath>

#include <nlohmann/json.hpp>

namespace introspect {

std::optional<Difference> paired_difference(const TaskResult& result, const std::string& metric,
                                            const std::string& explainer, const std::string& condition,
                                            const std::string& less_condition) {
  for (const Comparison& pair : result.comparisons) {
    if (pair.metric != metric || pair.first_explainer != explainer || pair.second_explainer != explainer) continue;
    if (pair.first_condition == condition && pair.second_condition == less_condition) {
      return Difference{pair.difference, pair.low, pair.high, pair.p};
    }
    if (pair.first_condition == less_condition && pair.second_condition == condition) {
      return Difference{-pair.difference, -pair.high, -pair.low, pair.p};
    }
  }
  return std::nullopt;
}

NamedTable vector_use_table(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  NamedTable table{
      "What each explainer takes from the vector",
      {"task, target, explainer", "with its vector", "with another one", "which", "the first less the second", "p"},
      {}};
  for (const MatrixTaskResult& result : results) {
    // of self alone the matrix of scores says it
    if (result.task->json.at("evaluate").value("vectors_of", "self") != "all") continue;
    const std::string& metric = result.task->metric;
    for (const MatrixTarget& found : result.targets) {
      for (const size_t each : found.explainers) {
        const std::string name = row_of(recipe, found, each);
        const Score* best = nullptr;
        for (const Score& score : found.result.scores) {
          const RowName row = row_name(score.explainer, score.condition, result.task->kind);
          if (row.kind != RowKind::ablation || score.explainer != name || score.metric != metric) continue;
          if (score.group != "all" || score.condition.starts_with("layer_") || !std::isfinite(score.value)) continue;
          if (!best || score.value > best->value) best = &score;
        }
        const Score* own = find_score(found.result.scores, name, "trained", metric);
        if (!best || !own) continue;
        const auto less = paired_difference(found.result, metric, name, "trained", best->condition);
        const std::string label = row_name(name, best->condition, result.task->kind).label;
        table.lines.push_back(
            {result.task->name + ", " + recipe.model(found.target).name + ", " + recipe.model(each).name,
             score_shown(own), score_shown(best), label.substr(label.find(", ") + 2),
             less ? difference_shown(less->value, less->low, less->high) : "–", less ? p_cell(less->p) : "–"});
      }
    }
  }
  return table;
}

}  // namespace introspect
