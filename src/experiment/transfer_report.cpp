// Explainers that learnt one target and are asked about another.
#include "experiment/matrix_report.h"
#include "report/row_names.h"
#include "report/table.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

// On target `asked` the explainer that learnt `learnt`: self where they are the same.
const Score* asked_about(const MatrixRecipe& recipe, const MatrixTaskResult& result, size_t learnt, size_t asked,
                         const std::string& condition) {
  const std::string& name = recipe.model(result.targets[learnt].target).name;
  return learnt == asked ? find_score(result.targets[asked].result.scores, "self", "trained", result.task->metric)
                         : find_score(result.targets[asked].result.scores, name, condition, result.task->metric);
}

MatrixTable transfer_matrix(const MatrixRecipe& recipe, const MatrixTaskResult& result, const std::string& condition) {
  const std::string& metric = result.task->metric;
  MatrixTable table;
  table.title = fmt::format(
      "{}: {}, {}", capitalised(result.task->name), metric_label(metric),
      condition == kAsked ? "asked as it is" : "vectors mapped into the space of the target that it learnt");
  table.corner = "trained on \\ asked about";
  for (const MatrixTarget& asked : result.targets) table.columns.push_back(recipe.model(asked.target).name);
  for (size_t learnt = 0; learnt < result.targets.size(); ++learnt) {
    MatrixTable::Line line{recipe.model(result.targets[learnt].target).name, {}};
    for (size_t asked = 0; asked < result.targets.size(); ++asked) {
      MatrixCell cell;
      if (const Score* score = asked_about(recipe, result, learnt, asked, condition)) {
        cell = cell_of(*score);
      } else {
        const bool refused = !result.targets[learnt].refused.empty() || !result.targets[asked].refused.empty();
        cell.words = refused ? "refused" : "not asked";
      }
      line.cells.push_back(std::move(cell));
    }
    table.lines.push_back(std::move(line));
  }
  table.note = metric_meaning(metric, result.task->kind) +
               " Times 100, with 95% intervals; below, the difference to the asked target's own explainer (on the "
               "diagonal), with the p of a paired permutation test.";
  return table;
}

// What the map changes, cell by cell.
NamedTable map_table(const MatrixRecipe& recipe, const MatrixTaskResult& result) {
  NamedTable table{capitalised(result.task->name) + ": what the map changes",
                   {"trained on, asked about", "as it is", "mapped", "mapped minus as it is", "p", "items"},
                   {}};
  for (const MatrixTarget& asked : result.targets) {
    for (const Comparison& pair : asked.result.comparisons) {
      const bool forward = pair.first_condition == kAskedMapped && pair.second_condition == kAsked;
      const bool backward = pair.first_condition == kAsked && pair.second_condition == kAskedMapped;
      if (pair.metric != result.task->metric || pair.first_explainer != pair.second_explainer) continue;
      if (!forward && !backward) continue;
      const Score* plain = find_score(asked.result.scores, pair.first_explainer, kAsked, pair.metric);
      const Score* mapped = find_score(asked.result.scores, pair.first_explainer, kAskedMapped, pair.metric);
      if (!plain || !mapped) continue;
      const double low = forward ? pair.low : -pair.high, high = forward ? pair.high : -pair.low;
      table.lines.push_back({fmt::format("{}, {}", pair.first_explainer, recipe.model(asked.target).name),
                             percent(plain->value), percent(mapped->value),
                             difference_shown(forward ? pair.difference : -pair.difference, low, high), p_cell(pair.p),
                             count(mapped->n)});
    }
  }
  return table;
}

// Over all pairs of different targets.
struct Loss {
  int pairs = 0, worse = 0;
  double own = 0, other = 0;  // means of the asked target's own explainer, and of the other one
};

Loss loss_of(const MatrixRecipe& recipe, const MatrixTaskResult& result, const std::string& condition) {
  Loss loss;
  for (size_t learnt = 0; learnt < result.targets.size(); ++learnt) {
    for (size_t asked = 0; asked < result.targets.size(); ++asked) {
      if (learnt == asked) continue;
      const Score* own = asked_about(recipe, result, asked, asked, condition);
      const Score* other = asked_about(recipe, result, learnt, asked, condition);
      if (!own || !other || !std::isfinite(own->value) || !std::isfinite(other->value)) continue;
      ++loss.pairs;
      loss.own += own->value;
      loss.other += other->value;
      loss.worse += other->difference_high < 0;
    }
  }
  loss.own /= std::max(1, loss.pairs);
  loss.other /= std::max(1, loss.pairs);
  return loss;
}

}  // namespace

OwnSection transfer_section(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  OwnSection section{"Trained on one target, asked about another",
                     "Each target was also its own explainer; that explainer is asked about the ground truth of every "
                     "other target."};
  for (const MatrixTaskResult& result : results) {
    section.matrices.push_back(transfer_matrix(recipe, result, kAsked));
    if (loss_of(recipe, result, kAskedMapped).pairs == 0) continue;
    section.matrices.push_back(transfer_matrix(recipe, result, kAskedMapped));
    section.tables.push_back(map_table(recipe, result));
  }
  return section;
}

std::vector<std::string> transfer_sentences(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  std::vector<std::string> sentences;
  for (const MatrixTaskResult& result : results) {
    for (const char* condition : {kAsked, kAskedMapped}) {
      const Loss loss = loss_of(recipe, result, condition);
      if (loss.pairs == 0) continue;
      sentences.push_back(fmt::format(
          "On {}, explainers that are asked about another target than the one they learnt{} reach {}% {} on average, "
          "the asked targets' own explainers {}%; of {} pairs of different targets, {} are worse with a 95% interval "
          "that leaves out 0.",
          result.task->name, condition == std::string(kAsked) ? "" : ", given its vectors through a linear map,",
          percent(loss.other), metric_label(result.task->metric), percent(loss.own), loss.pairs, loss.worse));
    }
  }
  return sentences;
}

}  // namespace introspect
