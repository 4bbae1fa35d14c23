// Finding scores in their flat list, as tables and figures need them. A report's section is about one pair of task
// and target.
#pragma once

#include "evaluate/score.h"
#include "report/row_names.h"
#include "report/task_words.h"

#include <string>
#include <utility>
#include <vector>

namespace introspect {

struct Subject {
  std::string task, target;
  bool operator==(const Subject&) const = default;
};
// In order of appearance.
std::vector<Subject> subjects_of(const std::vector<Score>& scores);

class ScoreTable {
 public:
  ScoreTable(const std::vector<Score>& scores, const Subject& subject);

  const Subject& subject() const { return subject_; }
  const TaskWords& words() const { return words_of(task_of(subject_.task)); }
  const std::vector<RowName>& rows() const { return rows_; }  // in the order of row_names.h
  const std::vector<std::string>& metrics() const { return metrics_; }
  // content_on_changed where it is measured, else the first metric.
  const std::string& headline_metric() const { return metrics_.front(); }
  // That one, and the others of the task's headline that are measured.
  std::vector<std::string> headline_metrics() const;
  // The rows for a figure of a metric: all of them, but of an ablation none that was trained on a part (they have a
  // section of their own), and of an explainer's untrained rows the best one.
  std::vector<RowName> drawn_rows(const std::string& metric) const;
  std::vector<std::string> groups(const std::string& attribute) const;  // values of "attribute=value"

  // Null if there is none.
  const Score* find(const RowName& row, const std::string& metric, const std::string& group = "all") const;
  const Score* find(const std::string& explainer, const std::string& condition, const std::string& metric,
                    const std::string& group = "all") const;

 private:
  Subject subject_;
  std::vector<const Score*> scores_;
  std::vector<RowName> rows_;
  std::vector<std::string> metrics_;
};

// Of some rows the one with the highest value; null if none has one.
const RowName* best_row(const ScoreTable& table, const std::vector<RowName>& rows, const std::string& metric);
// Trained on a part of the wordings or subjects.
bool trained_on_some(const RowName& row);

// The score of a row over all items, of whatever target stands first; null if there is none.
const Score* find_score(const std::vector<Score>& scores, const std::string& explainer, const std::string& condition,
                        const std::string& metric);
// As percent_shown (words.h) has it; a dash for null and for NaN.
std::string score_shown(const Score* score);

// "self": CSS class of a row.
std::string row_style(const RowName& row);

}  // namespace introspect
