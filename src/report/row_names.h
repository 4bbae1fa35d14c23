// The rows that tables and figures know by name. A row is an explainer under a condition; scores hold the short
// names, pages show the labels. Names that are not listed are shown as they are, with blanks for underscores.
#pragma once

#include <string>
#include <vector>

namespace introspect {

enum class RowKind {
  explainer,   // trained to explain the target, and asked as it was trained
  ablation,    // an explainer from which the vector is taken away or replaced
  simulation,  // does what the target did, and answers from that: what an honest introspector could do
  floor,       // knows no more than the question, or was not trained
  reference    // the truth itself: what a score can reach
};

struct RowName {
  std::string explainer, condition;
  std::string label;
  RowKind kind;
};

// In the order in which rows are shown.
const std::vector<RowName>& row_names();
// Of a listed row its entry; of another one an entry made up: its label "explainer, condition", its kind explainer if
// the condition is "trained", ablation if it speaks of a vector, else floor. `task` as in the scores: some labels speak
// of what only one task has.
RowName row_name(const std::string& explainer, const std::string& condition, const std::string& task = "");
// Place in row_names(); unknown rows come after their kind's known ones.
int row_place(const std::string& explainer, const std::string& condition);

// "content on changed items" for "content_on_changed"; an unknown name with blanks for underscores.
std::string metric_label(const std::string& metric);
// A sentence or two: what the metric counts. Empty for an unknown name.
std::string metric_meaning(const std::string& metric, const std::string& task = "");

}  // namespace introspect
