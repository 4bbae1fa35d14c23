// What an explainer reads: what it loses when a part of the question is taken away or wrong, at test time or from the
// start; and how it fares where the vector enters elsewhere.
#include "experiment/findings.h"
#include "report/row_names.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect {

std::vector<Finding> reading_findings(const FoundIn& run) {
  const std::vector<std::string>& answer = run.recipe.answer;
  if (std::find(answer.begin(), answer.end(), "reading") == answer.end()) return {};
  const std::string& self = run.recipe.explainers.front().name;
  const std::vector<Metric> metrics = curve_metrics(run.recipe.kind);
  Finding finding{"reading", {"What self comes to when its question is another one", {"self"}, {}}, {}};
  for (const Metric metric : metrics) {
    const std::string name = metric_label(metric_name(metric));
    finding.table.head.insert(finding.table.head.end(), {name, "less self", "p"});
  }
  finding.table.head.insert(finding.table.head.end(), {"n", "seeds"});
  std::vector<std::string> losses;
  for (const Row& row : run.result.rows) {
    if (row.explainer != self || row_name(row.explainer, row.condition).kind == RowKind::floor) continue;
    std::vector<std::string> line = {run.label(row.explainer, row.condition)};
    const Score* last = nullptr;
    for (const Metric metric : metrics) {
      const Score* score = run.score(row.explainer, row.condition, metric_name(metric));
      if (!score) continue;
      if (!last && row.condition.starts_with("retrained_")) {
        losses.push_back(fmt::format("{}: {} ({}, {})", line[0], signed_percent(score->difference_to_self),
                                     signed_interval(score->difference_low, score->difference_high),
                                     p_value(score->p_against_self)));
      }
      last = score;
      const bool tested = std::isfinite(score->p_against_self);
      line.push_back(percent_shown(score->value, score->low, score->high));
      line.push_back(tested ? difference_shown(score->difference_to_self, score->difference_low, score->difference_high)
                            : "–");
      line.push_back(p_cell(score->p_against_self));
    }
    if (!last) continue;
    line.insert(line.end(), {count(last->n), std::to_string(row.seeds.size())});
    finding.table.lines.push_back(std::move(line));
  }
  std::string list;
  for (const std::string& loss : losses) list += (list.empty() ? "" : "; ") + loss;
  if (!list.empty()) {
    finding.sentences.push_back(
        fmt::format("What is lost on {} by retraining and asking without a part, in points: {}.",
                    metric_label(metric_name(metrics.front())), list));
  }
  return {finding};
}

}  // namespace introspect
