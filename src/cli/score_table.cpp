#include "cli/score_table.h"

#include "report/row_names.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace introspect {

namespace {

std::string figure(const Score* score) {
  if (!score || std::isnan(score->value)) return "-";
  return fmt::format("{:5.1f} [{:.1f}, {:.1f}]", 100 * score->value, 100 * score->low, 100 * score->high);
}

// The metrics of a task that fit a line; p is that of the first.
std::vector<std::string> columns_of(const std::string& task) {
  if (task == "features") return {"exact_match", "judge", "simulator_score"};
  return {"content_on_changed", "has_changed_f1", "exact_match"};
}

}  // namespace

void print_score_table(const std::vector<Score>& scores) {
  using Rows = std::map<std::pair<int, std::string>, std::map<std::string, const Score*>>;
  std::vector<std::pair<std::string, Rows>> tasks;  // in the order of the scores
  for (const Score& score : scores) {
    if (score.group != "all" || score.condition.starts_with("scaling_")) continue;
    if (tasks.empty() || tasks.back().first != score.task) tasks.emplace_back(score.task, Rows());
    const std::string label = row_name(score.explainer, score.condition, score.task).label;
    tasks.back().second[{row_place(score.explainer, score.condition), label}][score.metric] = &score;
  }
  for (auto& [task, rows] : tasks) {
    const std::vector<std::string> shown = columns_of(task);
    std::printf("\n%-38s", (task + ", x100, 95% intervals").c_str());
    for (const std::string& metric : shown) std::printf(" %-20s", metric_label(metric).substr(0, 20).c_str());
    std::printf(" p against self\n");
    for (auto& [key, metrics] : rows) {
      std::printf("%-38s", key.second.c_str());
      for (const std::string& metric : shown) std::printf(" %-20s", figure(metrics[metric]).c_str());
      const Score* headline = metrics[shown.front()];
      const bool tested = headline && !std::isnan(headline->p_against_self);
      std::printf(" %s\n", tested ? fmt::format("{:.2g}", headline->p_against_self).c_str() : "");
    }
  }
}

}  // namespace introspect
