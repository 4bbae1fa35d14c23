#include "report/row_names.h"

#include "report/task_words.h"

#include <algorithm>

namespace introspect {

namespace {

std::string spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// The rows of an ablation: every explainer under the same conditions.
void add_ablation_rows(std::vector<RowName>& names, RowKind kind,
                       const std::vector<std::pair<std::string, std::string>>& conditions) {
  for (const auto& [condition, words] : conditions) {
    for (const std::string explainer : {"self", "twin", "base"}) {
      names.push_back({explainer, condition, explainer + ", " + words, kind});
    }
  }
}

std::vector<RowName> all_rows() {
  std::vector<RowName> names = {
      {"self", "trained", "self", RowKind::explainer},
      {"next", "trained", "next (self, trained further)", RowKind::explainer},
      {"twin", "trained", "twin (another seed)", RowKind::explainer},
      {"continued_twin", "trained", "continued twin", RowKind::explainer},
      {"base", "trained", "base (before chat tuning)", RowKind::explainer},
      {"wide", "trained", "wide, random projection", RowKind::explainer},
      {"wide", "least_squares_projection", "wide, pre-trained projection", RowKind::explainer},
      {"self", "self_consistent", "self, learning what it becomes", RowKind::explainer},
      {"self", "trained_on_the_other_task", "self, as trained there", RowKind::explainer},
      {"self", "joint", "self, trained on all tasks", RowKind::explainer},
      {"self", "affine_adapter", "self, frozen, affine adapter", RowKind::explainer},
      {"self", "told_the_unpatched_answer", "self, told the unpatched answer", RowKind::explainer},
      {"twin", "told_the_unpatched_answer", "twin, told the unpatched answer", RowKind::explainer},
  };
  add_ablation_rows(names, RowKind::explainer,
                    {{"lora", "LoRA"},
                     {"trained_on_some_wordings", "trained on some wordings"},
                     {"trained_on_some_subjects", "trained on some subjects"}});
  names.insert(names.end(), {{"self", "retrained_without_vector", "self, retrained without vector", RowKind::ablation},
                             {"self", "zero_vector", "self, zero vector at test", RowKind::ablation},
                             {"self", "random_vector", "self, random vector at test", RowKind::ablation},
                             {"self", "shuffled_vector", "self, another item's vector", RowKind::ablation},
                             {"self", "shuffled_in_cell", "self, another vector of the cell", RowKind::ablation},
                             {"self", "layer_dropped", "self, not told the layer", RowKind::ablation},
                             {"self", "layer_faked", "self, told another layer", RowKind::ablation}});
  add_ablation_rows(
      names, RowKind::simulation,
      {{"self_simulation", "runs both prompts itself"}, {"untrained_simulation", "runs both, untrained"}});
  add_ablation_rows(names, RowKind::floor, {{"hint_differs", "changed if the hint differs"}});
  names.insert(names.end(), {{"self", "few_shot", "self, few-shot, untrained", RowKind::floor},
                             {"self", "few_shot_lenient", "self, few-shot, read leniently", RowKind::floor}});
  add_ablation_rows(names, RowKind::floor,
                    {{"few_shot_8", "few-shot (8), untrained"},
                     {"few_shot_8_lenient", "few-shot (8), read leniently"},
                     {"few_shot_4", "few-shot (4), untrained"},
                     {"few_shot_4_lenient", "few-shot (4), read leniently"},
                     {"untrained", "untrained"},
                     {"untrained_lenient", "untrained, read leniently"}});
  names.insert(names.end(), {{"none", "text_classifier", "text classifier", RowKind::floor},
                             {"none", "always_changed", "always changed, by relation", RowKind::floor},
                             {"none", "majority_relation", "majority by relation", RowKind::floor},
                             {"none", "majority_cell", "majority by token and block", RowKind::floor},
                             {"none", "majority_wording", "majority by wording", RowKind::floor},
                             {"none", "majority_wording_subject", "majority by wording and subject", RowKind::floor},
                             {"none", "always_unchanged", "always unchanged", RowKind::floor},
                             {"none", "nearest_neighbour", "nearest train feature", RowKind::floor},
                             {"none", "nearest_neighbour_layer", "nearest of the same layer", RowKind::floor},
                             {"self", "selfie_best_of_5", "SelfIE, best of 5 scales", RowKind::floor},
                             {"none", "most_frequent_answer", "most frequent answer", RowKind::floor},
                             {"none", "gold", "the true descriptions", RowKind::reference}});
  return names;
}

}  // namespace

const std::vector<RowName>& row_names() {
  static const std::vector<RowName> names = all_rows();
  return names;
}

RowName row_name(const std::string& explainer, const std::string& condition, const std::string& task) {
  for (const RowName& name : row_names()) {
    if (name.explainer != explainer || name.condition != condition) continue;
    const bool by_relation = condition == "always_changed" && task_of(task) != Task::ablation;
    return condition != "always_changed" || by_relation ? name
                                                        : RowName{explainer, condition, "always changed", name.kind};
  }
  RowName name{explainer, condition, spaced(explainer), RowKind::explainer};
  if (condition == "trained") return name;
  for (const RowName& known : row_names()) {  // another explainer under one of self's controls
    if (known.explainer != "self" || known.condition != condition || known.kind != RowKind::ablation) continue;
    return {explainer, condition, spaced(explainer) + known.label.substr(std::string("self").size()), known.kind};
  }
  name.label = explainer == "none" ? spaced(condition) : spaced(explainer) + ", " + spaced(condition);
  const auto about = [&](const char* word) { return condition.find(word) != std::string::npos; };
  if (about("simulation")) {  // also of an untrained model
    name.kind = RowKind::simulation;
  } else if (explainer == "none" || about("untrained") || about("few_shot") || about("hint_differs")) {
    name.kind = RowKind::floor;
  } else if (about("vector") || about("shuffled") || about("retrained") || condition.starts_with("layer_")) {
    name.kind = RowKind::ablation;
  }  // else trained in another way
  return name;
}

int row_place(const std::string& explainer, const std::string& condition) {
  const std::vector<RowName>& names = row_names();
  const RowKind kind = row_name(explainer, condition).kind;
  // Even places for the known rows; the odd one behind the last of a kind for the others.
  int place = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].explainer == explainer && names[i].condition == condition) return static_cast<int>(2 * i);
    if (names[i].kind == kind) place = static_cast<int>(2 * i + 1);
  }
  return place;
}

std::string metric_label(const std::string& metric) {
  if (metric == "content_on_changed") return "content on changed items";
  if (metric == "content_on_unchanged") return "content on unchanged items";
  if (metric == "content_match") return "content match";
  if (metric == "has_changed_f1") return "has-changed F1";
  if (metric == "derived_f1") return "derived-flag F1";
  if (metric == "exact_match") return "exact match";
  if (metric == "judge") return "judge (offline)";
  if (metric == "simulator_score") return "simulator score";
  if (metric == "published_simulator_score") return "simulator score as published";
  return spaced(metric);
}

namespace {

std::string ablation_meaning(const std::string& metric) {
  if (metric == "content_on_changed") {
    return "Of the items whose answer changes when the hint is taken away: the share for which the explainer names the "
           "new answer. Answering the question as if there were no hint scores here too; has-changed F1 tells whether "
           "the explainer knows that the hint mattered.";
  }
  if (metric == "content_on_unchanged") {
    return "Of the items whose answer stays when the hint is taken away: the share for which the explainer names it.";
  }
  if (metric == "has_changed_f1") {
    return "Whether the explainer's words say rightly that the answer changes when the hint is taken away: F1, the "
           "mean "
           "over changed and unchanged items. 50 is chance where half of the items change.";
  }
  if (metric == "derived_f1") {
    return "The same for the answer it names: changed if that differs from what the target says with the hint.";
  }
  return "";
}

}  // namespace

std::string metric_meaning(const std::string& metric, const std::string& task) {
  if (task_of(task) == Task::ablation) {
    if (const std::string meaning = ablation_meaning(metric); !meaning.empty()) return meaning;
  }
  if (metric == "content_on_changed") {
    return "Of the items whose answer the patch changes: the share for which the explainer names the new answer. "
           "The question's words alone seldom tell it.";
  }
  if (metric == "content_on_unchanged") {
    return "Of the items whose answer stays: the share for which the explainer names the answer. Knowing the fact is "
           "enough.";
  }
  if (metric == "content_match") return "Of all items: the share for which the explainer names the answer.";
  if (metric == "has_changed_f1") {
    return "Whether the explainer's words say rightly that the answer changes: F1, the mean over changed and "
           "unchanged items. 50 is chance where half of the items change.";
  }
  if (metric == "derived_f1") {
    return "The same for the answer it names: changed if that differs from what the target says without the patch.";
  }
  if (metric == "exact_match" && task_of(task) == Task::features) {
    return "The share of features whose true description the explainer says word for word.";
  }
  if (metric == "exact_match") return "Of all items: the share answered right to the word.";
  if (metric == "judge") {
    return "How near the words are to the true description: all of it the same, the same kind, or some of the same "
           "words, from 0 to 1.";
  }
  if (metric == "simulator_score") {
    return "What the words say the feature does, simulated token by token and correlated with what it does, on its "
           "top, "
           "random and near-miss texts, with its sign. Words that cannot be simulated score 0.";
  }
  if (metric == "published_simulator_score") {
    return "The same as it was published: on the 20 texts that fire it most alone, without the sign. Chance is above "
           "0.";
  }
  return "";
}

}  // namespace introspect
