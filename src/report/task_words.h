// What the page says differently from task to task. A task is known by its name in the scores; one that is not known
// gets the words of activation patching.
#pragma once

#include "report/row_names.h"

#include <string>
#include <vector>

namespace introspect {

enum class Task {
  patching,  // a piece of another prompt's activations is put into the target
  ablation,  // the hint is taken out of the target's prompt; the explainer gets words alone
  features   // a direction of the target's residual stream is to be described
};
Task task_of(const std::string& name);  // "ablation", "input ablation", "features"; all others: patching
// "input ablation of tiny-chat"; either may be empty.
std::string task_title(const std::string& task, const std::string& target);

struct GroupAttribute {
  std::string name;   // in the groups of scores: "token_type"
  std::string title;  // "token type"
};

struct TaskWords {
  std::vector<std::string> headline_metrics;  // the first one is what rows are compared by
  std::string group_title;                    // of the section of scores by group
  GroupAttribute drawn_by;                    // the attribute whose values get a figure
  std::vector<GroupAttribute> listed_by;      // those that get a table
  std::string drawn_how;                      // the examples to look at, a sentence
  std::string right_means;                    // when an answer counts as right, a sentence

  std::string kind_title(RowKind kind) const;
  Task task = Task::patching;
};
const TaskWords& words_of(Task task);

}  // namespace introspect
