// Explainers that learnt one target and are asked about another.
#include "experiment/matrix_report.h"
#include "experiment/transfer_loss.h"
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
    for (const MatrixTarget& learnt : result.targets) {
      const std::string& name = recipe.model(learnt.target).name;
      const Score* plain = find_score(asked.result.scores, name, kAsked, result.task->metric);
      const Score* mapped = find_score(asked.result.scores, name, kAskedMapped, result.task->metric);
      const auto gain = paired_difference(asked.result, result.task->metric, name, kAskedMapped, kAsked);
      if (!plain || !mapped || !gain) continue;
      table.lines.push_back({fmt::format("{}, {}", name, recipe.model(asked.target).name), percent(plain->value),
                             percent(mapped->value), difference_shown(gain->value, gain->low, gain->high),
                             p_cell(gain->p), count(mapped->n)});
    }
  }
  return table;
}

// How often the other explainer is worse than the own one with an interval that leaves out 0.
int64_t worse_pairs(const MatrixRecipe& recipe, const MatrixTaskResult& result, const std::string& condition) {
  int64_t worse = 0;
  for (size_t learnt = 0; learnt < result.targets.size(); ++learnt) {
    for (size_t asked = 0; asked < result.targets.size(); ++asked) {
      const Score* other = asked_about(recipe, result, learnt, asked, condition);
      worse += learnt != asked && other && other->difference_high < 0;
    }
  }
  return worse;
}

std::string shown(const TransferLoss::Mean& mean) {
  return percent_shown(mean.value, mean.low, mean.high);
}

std::string shown_difference(const TransferLoss::Mean& mean) {
  return difference_shown(mean.value, mean.low, mean.high);
}

NamedTable loss_table(const MatrixTaskResult& result, const std::vector<TransferLoss>& losses) {
  const bool mapped = std::isfinite(losses.front().mapped.value);
  NamedTable table{capitalised(result.task->name) + ": what is lost, by how many places apart both stand in the recipe",
                   {"places apart", "pairs", "own explainers", "others less them"},
                   {}};
  if (mapped) table.head.insert(table.head.end(), {"others, mapped, less them", "mapped less as they are"});
  for (const TransferLoss& loss : losses) {
    table.lines.push_back({loss.apart == 0 ? "all" : std::to_string(loss.apart), count(loss.pairs), shown(loss.own),
                           shown_difference(loss.less_own)});
    if (!mapped) continue;
    for (const auto& mean : {loss.mapped_less_own, loss.gained_by_map}) {
      table.lines.back().push_back(shown_difference(mean));
    }
  }
  return table;
}

CurveFigure loss_figure(const MatrixTaskResult& result, const std::vector<TransferLoss>& losses) {
  CurveFigure figure{fmt::format("{}: {}, times 100, by how many places apart both targets stand in the recipe; means "
                                 "over pairs, with 95% intervals.",
                                 capitalised(result.task->name), metric_label(result.task->metric)),
                     "",
                     "places apart",
                     false,
                     {{"own explainers", "self", {}},
                      {"others, as they are", "explainer", {}},
                      {"others, vectors mapped", "floor", {}}}};
  for (const TransferLoss& loss : losses) {
    if (loss.apart == 0) continue;
    size_t series = 0;
    for (const TransferLoss::Mean& mean : {loss.own, loss.as_it_is, loss.mapped}) {
      std::vector<CurveFigure::Point>& points = figure.series[series++].points;
      if (!std::isfinite(mean.value)) continue;
      points.push_back({static_cast<double>(loss.apart), mean.value, mean.low, mean.high});
    }
  }
  std::erase_if(figure.series, [](const CurveFigure::Series& series) { return series.points.empty(); });
  return figure;
}

void add_sentences(const MatrixRecipe& recipe, const MatrixTaskResult& result, const std::vector<TransferLoss>& losses,
                   std::vector<std::string>& sentences) {
  const TransferLoss& all = losses.front();
  const auto worse = [&](const char* condition) {
    return fmt::format("{} of {} pairs are worse with a 95% interval that leaves out 0",
                       worse_pairs(recipe, result, condition), all.pairs);
  };
  sentences.push_back(fmt::format(
      "On {}, explainers that are asked about another target than the one they learnt differ from the asked targets' "
      "own explainers ({}) by {} points of {}; {}.",
      result.task->name, shown(all.own), shown_difference(all.less_own), metric_label(result.task->metric),
      worse(kAsked)));
  if (losses.size() > 2) {
    sentences.back() += fmt::format(" Neighbours in the list of targets differ by {}, the farthest by {}.",
                                    shown_difference(losses[1].less_own), shown_difference(losses.back().less_own));
  }
  if (!std::isfinite(all.mapped.value)) return;
  sentences.push_back(
      fmt::format("Through a linear map of the vectors the difference is {} points: the map changes it by {}; {}.",
                  shown_difference(all.mapped_less_own), shown_difference(all.gained_by_map), worse(kAskedMapped)));
}

}  // namespace

TransferPart transfer_part(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  TransferPart part{{"Trained on one target, asked about another",
                     "Each target was also its own explainer; that explainer is asked about the ground truth of every "
                     "other target."},
                    {}};
  OwnSection& section = part.section;
  for (const MatrixTaskResult& result : results) {
    const std::vector<TransferLoss> losses = transfer_losses(recipe, result);
    if (losses.empty()) continue;
    const bool mapped = std::isfinite(losses.front().mapped.value);
    // of a single distance there is no curve
    if (losses.size() > 2) section.curves.push_back(loss_figure(result, losses));
    section.matrices.push_back(transfer_matrix(recipe, result, kAsked));
    if (mapped) section.matrices.push_back(transfer_matrix(recipe, result, kAskedMapped));
    section.tables.push_back(loss_table(result, losses));
    if (mapped) section.tables.push_back(map_table(recipe, result));
    add_sentences(recipe, result, losses, part.sentences);
  }
  return part;
}

}  // namespace introspect
