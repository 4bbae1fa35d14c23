#include "report/task_words.h"

namespace introspect {

Task task_of(const std::string& name) {
  return name == "ablation" || name == "input ablation" ? Task::ablation : Task::patching;
}

std::string task_title(const std::string& task, const std::string& target) {
  const std::string name = task_of(task) == Task::ablation ? "input ablation" : task;
  return target.empty() ? name : name + " of " + target;
}

std::string TaskWords::kind_title(RowKind kind) const {
  switch (kind) {
    case RowKind::explainer:
      return "Trained to explain the target";
    case RowKind::ablation:
      return "The vector taken away or exchanged";
    case RowKind::simulation:
      return "Asked again, without introspection";
    case RowKind::floor:
      return task == Task::patching ? "Floors, without training or vector" : "Floors, without training to explain";
  }
  return "";
}

const TaskWords& words_of(Task task) {
  static const TaskWords patching = {{"content_on_changed"},
                                     "By relation and place",
                                     {"relation", "relation"},
                                     {{"token_type", "token type"}, {"block", "layer block"}},
                                     "An answer counts as right if it names what the target says.",
                                     Task::patching};
  static const TaskWords ablation = {{"content_on_changed", "has_changed_f1"},
                                     "By subject and wording",
                                     {"subject", "subject"},
                                     {{"wording", "wording"}},
                                     "An answer counts as right if it names what the target says without the hint.",
                                     Task::ablation};
  return task == Task::ablation ? ablation : patching;
}

}  // namespace introspect
