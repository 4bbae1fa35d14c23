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

}  // namespace

void print_score_table(const std::vector<Score>& scores) {
  using Rows = std::map<std::pair<int, std::string>, std::map<std::string, const Score*>>;
  std::vector<std::pair<std::string, Rows>> tasks;  // in the order of the scores
  for (const Score& score : scores) {
    if (score.group != "all") continue;
    if (tasks.empty() || tasks.back().first != score.task) tasks.emplace_back(score.task, Rows());
    const std::string label = row_name(score.explainer, score.condition, score.task).label;
    tasks.back().second[{row_place(score.explainer, score.condition), label}][score.metric] = &score;
  }
  for (auto& [task, rows] : tasks) {
    std::printf("\n%-38s %-20s %-20s %-20s %s\n", (task + ", x100, 95% intervals").c_str(), "content on changed",
                "has-changed F1", "exact match", "p against self");
    for (auto& [key, metrics] : rows) {
      const Score* headline = metrics["content_on_changed"];
      const std::string p =
          !headline || std::isnan(headline->p_against_self) ? "" : fmt::format("{:.2g}", headline->p_against_self);
      std::printf("%-38s %-20s %-20s %-20s %s\n", key.second.c_str(), figure(headline).c_str(),
                  figure(metrics["has_changed_f1"]).c_str(), figure(metrics["exact_match"]).c_str(), p.c_str());
    }
  }
}

}  // namespace introspect
