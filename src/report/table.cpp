#include "report/table.h"

#include "report/report.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

namespace introspect {

namespace {

template <class T>
void add_new(std::vector<T>& list, const T& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

// All digits that are needed to read the same number back; empty for NaN.
std::string exact(double number) {
  return std::isfinite(number) ? fmt::format("{}", number) : "";
}

// "2" before "10", words by the alphabet.
bool natural_less(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& text) {
    return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  };
  if (number(a) && number(b)) return std::stol(a) < std::stol(b);
  return a < b;
}

// A model that was not trained to explain, asked with examples or without.
bool is_untrained(const RowName& row) {
  return row.condition.starts_with("untrained") || row.condition.starts_with("few_shot") ||
         row.condition.starts_with("selfie");
}

}  // namespace

std::vector<Subject> subjects_of(const std::vector<Score>& scores) {
  std::vector<Subject> subjects;
  for (const Score& score : scores) add_new(subjects, {score.task, score.target});
  return subjects;
}

ScoreTable::ScoreTable(const std::vector<Score>& scores, const Subject& subject) : subject_(subject) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Score& score : scores) {
    if (score.task != subject.task || score.target != subject.target) continue;
    scores_.push_back(&score);
    // the sizes of a scaling curve have a figure of their own
    if (!score.condition.starts_with("scaling_")) add_new(rows, {score.explainer, score.condition});
    add_new(metrics_, score.metric);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return row_place(a.first, a.second) < row_place(b.first, b.second);
  });
  for (const auto& [explainer, condition] : rows) rows_.push_back(row_name(explainer, condition, subject.task));
  const auto headline = std::find(metrics_.begin(), metrics_.end(), "content_on_changed");
  if (headline != metrics_.end()) std::rotate(metrics_.begin(), headline, headline + 1);
  if (metrics_.empty()) metrics_.push_back("exact_match");
}

std::vector<std::string> ScoreTable::headline_metrics() const {
  std::vector<std::string> chosen = {headline_metric()};
  for (const std::string& metric : words().headline_metrics) {
    const bool measured = std::find(metrics_.begin(), metrics_.end(), metric) != metrics_.end();
    if (measured) add_new(chosen, metric);
  }
  return chosen;
}

std::vector<RowName> ScoreTable::drawn_rows(const std::string& metric) const {
  if (words().task == Task::patching) return rows_;
  std::map<std::string, std::vector<RowName>> untrained;  // by explainer
  for (const RowName& row : rows_) {
    if (is_untrained(row)) untrained[row.explainer].push_back(row);
  }
  std::vector<RowName> drawn;
  for (const RowName& row : rows_) {
    if (trained_on_some(row)) continue;
    if (is_untrained(row)) {
      const RowName* best = best_row(*this, untrained[row.explainer], metric);
      const RowName& shown = best ? *best : untrained[row.explainer].front();
      if (shown.condition != row.condition) continue;
    }
    drawn.push_back(row);
  }
  return drawn;
}

std::vector<std::string> ScoreTable::groups(const std::string& attribute) const {
  std::vector<std::string> values;
  std::set<std::string> seen;
  for (const Score* score : scores_) {
    if (score->group.starts_with(attribute + "=") && seen.insert(score->group).second) {
      values.push_back(score->group.substr(attribute.size() + 1));
    }
  }
  std::sort(values.begin(), values.end(), natural_less);
  return values;
}

const Score* ScoreTable::find(const RowName& row, const std::string& metric, const std::string& group) const {
  return find(row.explainer, row.condition, metric, group);
}

const Score* ScoreTable::find(const std::string& explainer, const std::string& condition, const std::string& metric,
                              const std::string& group) const {
  for (const Score* score : scores_) {
    if (score->group == group && score->metric == metric && score->explainer == explainer &&
        score->condition == condition) {
      return score;
    }
  }
  return nullptr;
}

const RowName* best_row(const ScoreTable& table, const std::vector<RowName>& rows, const std::string& metric) {
  const RowName* best = nullptr;
  double highest = 0;
  for (const RowName& row : rows) {
    const Score* score = table.find(row, metric);
    if (!score || !std::isfinite(score->value) || (best && highest >= score->value)) continue;
    best = &row;
    highest = score->value;
  }
  return best;
}

bool trained_on_some(const RowName& row) {
  return row.condition.starts_with("trained_on_some_");
}

const Score* find_score(const std::vector<Score>& scores, const std::string& explainer, const std::string& condition,
                        const std::string& metric) {
  const auto found = std::find_if(scores.begin(), scores.end(), [&](const Score& score) {
    return score.explainer == explainer && score.condition == condition && score.metric == metric &&
           score.group == "all";
  });
  return found == scores.end() ? nullptr : &*found;
}

std::string score_shown(const Score* score) {
  return score && !std::isnan(score->value) ? percent_shown(score->value, score->low, score->high) : "–";
}

std::string row_style(const RowName& row) {
  if (row.explainer == "self" && row.condition == "trained") return "self";
  switch (row.kind) {
    case RowKind::explainer:
      return "explainer";
    case RowKind::ablation:
      return "ablation";
    case RowKind::simulation:
      return "simulation";
    case RowKind::floor:
    case RowKind::reference:
      return "floor";
  }
  return "floor";
}

std::string scores_csv(const std::vector<Score>& scores) {
  std::string csv =
      "task,target,explainer,condition,metric,group,value,low,high,n,clusters,unparsable,seeds,seed_deviation,"
      "difference_to_self,difference_low,difference_high,p_against_self\n";
  for (const Score& score : scores) {
    for (const std::string* text :
         {&score.task, &score.target, &score.explainer, &score.condition, &score.metric, &score.group}) {
      csv += csv_field(*text) + ",";
    }
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{}\n", exact(score.value), exact(score.low), exact(score.high),
                       score.n, score.clusters, exact(score.unparsable), score.seeds, exact(score.seed_deviation),
                       exact(score.difference_to_self), exact(score.difference_low), exact(score.difference_high),
                       exact(score.p_against_self));
  }
  return csv;
}

}  // namespace introspect
