#include "report/task_words.h"

namespace introspect {

Task task_of(const std::string& name) {
  if (name == "features") return Task::features;
  return name == "ablation" || name == "input ablation" ? Task::ablation : Task::patching;
}

std::string task_title(const std::string& task, const std::string& target) {
  const std::string name = task_of(task) == Task::ablation   ? "input ablation"
                           : task_of(task) == Task::features ? "feature descriptions"
                           : task == "joint"                 ? "joint training"
                                                             : task;
  return target.empty() ? name : name + " of " + target;
}

std::string TaskWords::kind_title(RowKind kind) const {
  switch (kind) {
    case RowKind::explainer:
      return "Trained to explain the target";
    case RowKind::ablation:
      return task == Task::features ? "The vector or the layer taken away or exchanged"
                                    : "The vector taken away or exchanged";
    case RowKind::simulation:
      return "Asked again, without introspection";
    case RowKind::floor:
      return task == Task::patching ? "Floors, without training or vector" : "Floors, without training to explain";
    case RowKind::reference:
      return "What can be reached";
  }
  return "";
}

const TaskWords& words_of(Task task) {
  static const TaskWords patching = {{"content_on_changed"},
                                     "By relation and place",
                                     {"relation", "relation"},
                                     {{"token_type", "token type"}, {"block", "layer block"}},
                                     "Drawn at random from the test items, half of them changed.",
                                     "An answer counts as right if it names what the target says.",
                                     Task::patching};
  static const TaskWords ablation = {{"content_on_changed", "has_changed_f1"},
                                     "By subject and wording",
                                     {"subject", "subject"},
                                     {{"wording", "wording"}},
                                     "Drawn at random from the test items, half of them changed.",
                                     "An answer counts as right if it names what the target says without the hint.",
                                     Task::ablation};
  static const TaskWords features = {{"exact_match", "simulator_score"},
                                     "By kind of description, layer and test",
                                     {"kind", "kind of description"},
                                     {{"label", "true description in training"},
                                      {"layer", "layer"},
                                      {"aside", "further tests, not in the figures above"}},
                                     "Drawn at random from the test features, half of which self describes rightly.",
                                     "An answer counts as right if it is the true description word for word.",
                                     Task::features};
  return task == Task::ablation ? ablation : task == Task::features ? features : patching;
}

}  // namespace introspect
