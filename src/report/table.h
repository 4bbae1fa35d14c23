// Finding scores in their flat list, as tables and figures need them. A report's section is about one pair of task
// and target.
#pragma once

#include "evaluate/score.h"
#include "report/row_names.h"

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
  const std::vector<RowName>& rows() const { return rows_; }  // in the order of row_names.h
  const std::vector<std::string>& metrics() const { return metrics_; }
  // content_on_changed where it is measured, else the first metric.
  const std::string& headline_metric() const { return metrics_.front(); }
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

// "self": CSS class of a row.
std::string row_style(const RowName& row);

}  // namespace introspect
