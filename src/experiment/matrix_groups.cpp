// Scores of a matrix by kind of question.
#include "evaluate/statistics.h"
#include "experiment/privileged_access.h"
#include "report/table.h"
#include "report/words.h"

#include <optional>

#include <fmt/ranges.h>

namespace introspect {

namespace {

struct Group {
  std::string name, label;  // "token_type=subject final", "token type subject final"
};

// Of those that the task's pages list, the ones with enough items that self was asked; `small` counts the others.
std::vector<Group> groups_of(const ScoreTable& table, const std::string& metric, int64_t& small) {
  std::vector<GroupAttribute> attributes = table.words().listed_by;
  attributes.push_back(table.words().drawn_by);
  std::vector<Group> groups;
  for (const GroupAttribute& attribute : attributes) {
    if (attribute.name == "aside") continue;  // further tests: not in the scores over all
    for (const std::string& value : table.groups(attribute.name)) {
      const std::string name = attribute.name + "=" + value;
      const Score* self = table.find("self", "trained", metric, name);
      if (!self || self->n < kItemsOfGroup) {
        ++small;
        continue;
      }
      groups.push_back({name, attribute.title + " " + value});
    }
  }
  return groups;
}

std::optional<ScoreTable> table_of(const Privilege& each) {
  const std::vector<Subject> subjects = subjects_of(each.found->result.scores);
  if (subjects.empty() || !each.self) return std::nullopt;
  return ScoreTable(each.found->result.scores, subjects.front());
}

}  // namespace

std::vector<MatrixTable> group_matrices(const MatrixRecipe& recipe, const std::vector<Privilege>& all) {
  std::vector<MatrixTable> matrices;
  for (const Privilege& each : all) {
    const std::optional<ScoreTable> table = table_of(each);
    if (!table || each.found->explainers.size() < 2) continue;
    const std::string& metric = each.task->metric;
    std::vector<RowName> controls;
    for (const RowKind kind : {RowKind::ablation, RowKind::floor}) {
      if (const auto best = best_of_kind(*table, metric, kind)) controls.push_back(*best);
    }
    MatrixTable matrix;
    matrix.title = fmt::format("{}, {}: {}", capitalised(each.task->name), each.target, metric_label(metric));
    matrix.corner = "kind of question \\ explainer";
    for (const size_t explainer : each.found->explainers) matrix.columns.push_back(recipe.model(explainer).name);
    for (const RowName& row : controls) matrix.columns.push_back(row.label);
    int64_t small = 0;
    for (const Group& group : groups_of(*table, metric, small)) {
      MatrixTable::Line line{"", {}};
      const auto add = [&](const Score* score) { line.cells.push_back(score ? cell_of(*score) : MatrixCell()); };
      for (const size_t explainer : each.found->explainers) {
        add(table->find(row_of(recipe, *each.found, explainer), "trained", metric, group.name));
      }
      for (const RowName& row : controls) add(table->find(row, metric, group.name));
      line.label = fmt::format("{} (n {})", group.label, line.cells.front().n);
      matrix.lines.push_back(std::move(line));
    }
    matrix.note = fmt::format(
        "Groups of {} items or more; {} smaller ones are left out. Below a score, the difference to self with the p of "
        "a paired permutation test of "
        "that cell alone. The last columns: the best of self's controls and the best floor over all questions.",
        kItemsOfGroup, small);
    if (!matrix.lines.empty()) matrices.push_back(std::move(matrix));
  }
  return matrices;
}

std::vector<std::string> group_sentences(const std::vector<Privilege>& all) {
  std::vector<std::string> sentences;
  for (const Privilege& each : all) {
    const std::optional<ScoreTable> table = table_of(each);
    if (!table || !each.best) continue;
    std::vector<const Score*> scores;
    std::vector<std::string> labels;
    std::vector<double> p;
    int64_t small = 0;  // said below the matrix
    for (const Group& group : groups_of(*table, each.task->metric, small)) {
      const Score* other = table->find(each.other, "trained", each.task->metric, group.name);
      if (!other) continue;
      scores.push_back(other);
      labels.push_back(group.label);
      p.push_back(other->p_against_self);
    }
    if (scores.empty()) continue;
    const std::vector<double> corrected = holm(p);
    std::vector<std::string> ahead, behind;
    for (size_t i = 0; i < scores.size(); ++i) {
      if (!(corrected[i] < 0.05)) continue;
      const double gain = -scores[i]->difference_to_self;
      (gain > 0 ? ahead : behind)
          .push_back(fmt::format("{} ({} points, {})", labels[i], signed_percent(gain), p_value(corrected[i])));
    }
    const auto list = [](const std::vector<std::string>& names) {
      return names.empty() ? std::string("none") : fmt::format("{}", fmt::join(names, ", "));
    };
    sentences.push_back(fmt::format(
        "{}, {}, by kind of question ({} groups of {} items or more, Holm's correction): self is ahead of {} on {}; "
        "behind on {}.",
        each.task->name, each.target, scores.size(), kItemsOfGroup, each.other, list(ahead), list(behind)));
  }
  return sentences;
}

}  // namespace introspect
