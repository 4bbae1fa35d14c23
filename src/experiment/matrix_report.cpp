#include "experiment/matrix_report.h"

#include "experiment/privileged_access.h"
#include "experiment/vector_use.h"
#include "model/config.h"
#include "report/table.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

std::string size_of(const MatrixModel& model) {
  if (!model.size_class.empty()) return model.size_class;
  const ModelConfig config = read_config(model.path);
  return fmt::format("{} layers of width {}", config.layers, config.d_model);
}

std::optional<Difference> paired_difference(const TaskResult& result, const std::string& metric,
                                            const std::string& explainer, const std::string& condition,
                                            const std::string& less_condition) {
  for (const Comparison& pair : result.comparisons) {
    if (pair.metric != metric || pair.first_explainer != explainer || pair.second_explainer != explainer) continue;
    if (pair.first_condition == condition && pair.second_condition == less_condition) {
      return Difference{pair.difference, pair.low, pair.high, pair.p};
    }
    if (pair.first_condition == less_condition && pair.second_condition == condition) {
      return Difference{-pair.difference, -pair.high, -pair.low, pair.p};
    }
  }
  return std::nullopt;
}

MatrixCell cell_of(const Score& score) {
  MatrixCell cell;
  cell.value = score.value;
  cell.low = score.low;
  cell.high = score.high;
  cell.n = score.n;
  cell.difference = score.difference_to_self;
  cell.p = score.p_against_self;
  cell.self = score.explainer == "self" && score.condition == "trained";
  return cell;
}

std::string row_of(const MatrixRecipe& recipe, const MatrixTarget& found, size_t explainer) {
  return explainer == found.target ? "self" : recipe.model(explainer).name;
}

std::optional<RowName> best_of_kind(const ScoreTable& table, const std::string& metric, RowKind kind) {
  std::vector<RowName> rows;
  for (const RowName& row : table.rows()) {
    if (row.kind == kind && (row.explainer == "self" || kind != RowKind::ablation)) rows.push_back(row);
  }
  const RowName* best = best_row(table, rows, metric);
  return best ? std::optional(*best) : std::nullopt;
}

namespace {

// The best row of a kind, with its name; nothing where none was asked.
MatrixCell best_cell(const MatrixTarget& found, const std::string& metric, RowKind kind) {
  const std::vector<Subject> subjects = subjects_of(found.result.scores);
  if (subjects.empty()) return {};
  const ScoreTable table(found.result.scores, subjects.front());
  const std::optional<RowName> best = best_of_kind(table, metric, kind);
  if (!best) return {};
  MatrixCell cell = cell_of(*table.find(*best, metric));
  cell.words = best->label;
  return cell;
}

std::string label_of(const MatrixRecipe& recipe, const MatrixTarget& found) {
  return recipe.model(found.target).name + (found.invalid.empty() ? "" : " (no valid test: " + found.invalid + ")");
}

std::string title_of(const MatrixTask& task) {
  const std::string title = task_title(task.kind, "");
  return capitalised(title) + (task.name == task.kind ? "" : " (" + task.name + ")");
}

MatrixTable score_matrix(const MatrixRecipe& recipe, const MatrixTaskResult& result) {
  const MatrixTask& task = *result.task;
  MatrixTable table;
  table.title = title_of(task) + ": " + metric_label(task.metric);
  table.corner = "target \\ explainer";
  std::vector<size_t> columns;
  for (const MatrixTarget& found : result.targets) {
    for (const size_t each : explainers_of(task, found.target)) columns.push_back(each);
  }
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  for (const size_t each : columns) table.columns.push_back(recipe.model(each).name);
  table.columns.insert(table.columns.end(), {"self, another vector", "best floor"});
  for (const MatrixTarget& found : result.targets) {
    MatrixTable::Line line{label_of(recipe, found), {}};
    for (const size_t each : columns) {
      MatrixCell cell;
      const auto left_out = found.left_out.find(each);
      const Score* score = find_score(found.result.scores, row_of(recipe, found, each), "trained", task.metric);
      if (!found.refused.empty()) {
        cell.words = line.cells.empty() ? "refused: " + found.refused : "refused";
      } else if (left_out != found.left_out.end()) {
        cell.words = left_out->second;
      } else if (score) {
        cell = cell_of(*score);
      }
      line.cells.push_back(std::move(cell));
    }
    line.cells.push_back(best_cell(found, task.metric, RowKind::ablation));
    line.cells.push_back(best_cell(found, task.metric, RowKind::floor));
    table.lines.push_back(std::move(line));
  }
  table.note =
      metric_meaning(task.metric, task.kind) +
      " Times 100, with 95% intervals (bootstrap over clusters); below, the difference to self with the p of a "
      "paired permutation test. Self is set off. The last columns: the best of self's controls with another "
      "vector or layer, and the best floor.";
  return table;
}

NamedValues facts_of(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  NamedValues facts;
  for (const MatrixModel& model : recipe.models) {
    facts.emplace_back(model.name, fmt::format("{} ({})", size_of(model), model.path.filename().string()));
  }
  for (const MatrixTaskResult& result : results) {
    const MatrixTask& task = *result.task;
    for (const MatrixTarget& found : result.targets) {
      const std::string name = task.name + ", " + recipe.model(found.target).name;
      if (!found.refused.empty()) {
        facts.emplace_back(name, "refused: " + found.refused);
        continue;
      }
      const Dataset& dataset = found.result.scored;
      facts.emplace_back(name, fmt::format("{} train, {} validation, {} test examples asked; its own page is {}/{}/"
                                           "report/report.html",
                                           dataset.of(Split::train).size(), dataset.of(Split::validation).size(),
                                           dataset.of(Split::test).size(), task.name, recipe.model(found.target).name));
    }
  }
  facts.emplace_back("the best other explainer",
                     "of each target was chosen on its validation loss, never on test items; losses are means over "
                     "answer tokens, so they compare strictly only where tokenizers agree");
  return facts;
}

}  // namespace

ReportInput matrix_part(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results,
                        const std::string& command) {
  ReportInput input;
  input.task = "matrix";
  input.title = recipe.title;
  input.question = recipe.question;
  OwnSection matrices{"Who explains whom", "Every explainer was trained alike on every target."};
  for (const MatrixTaskResult& result : results) matrices.matrices.push_back(score_matrix(recipe, result));
  const std::vector<VectorUse> uses = vector_uses(recipe, results);
  if (!uses.empty()) matrices.tables.push_back(vector_use_table(uses));
  input.sections.push_back(std::move(matrices));
  if (recipe.transfer) {
    TransferPart transfer = transfer_part(recipe, results);
    input.answer = std::move(transfer.sentences);
    input.sections.insert(input.sections.begin(), std::move(transfer.section));
  }
  const std::vector<Privilege> all = privileges(recipe, results);
  const bool compared = std::any_of(all.begin(), all.end(), [](const Privilege& each) { return each.best; });
  if (compared || !recipe.transfer) {
    for (std::string& sentence : privilege_sentences(all)) input.answer.push_back(std::move(sentence));
    input.sections.push_back({"Privileged access",
                              "What a target gains by being explained by itself and not by the best other explainer of "
                              "its size, which the validation loss chose. Times 100, with paired 95% intervals.",
                              {},
                              {},
                              {},
                              {privilege_table(all)}});
  }
  OwnSection by_group{"By kind of question", "Which questions are hard, and where a target knows more about itself."};
  by_group.matrices = group_matrices(recipe, all);
  if (!by_group.matrices.empty()) {
    const std::vector<std::string> sentences = group_sentences(all);
    // of one target they belong to the answer, of several there would be too many
    if (by_group.matrices.size() == 1) {
      input.answer.insert(input.answer.end(), sentences.begin(), sentences.end());
    } else {
      for (const std::string& sentence : sentences) by_group.lead += " " + sentence;
    }
    input.sections.push_back(std::move(by_group));
  }
  if (!uses.empty()) input.answer.push_back(vector_use_sentence(uses));
  input.facts = facts_of(recipe, results);
  input.weak = recipe.weak;
  input.command = command;
  input.settings = {{"recipe", recipe.path.filename().string()}};
  for (const MatrixTaskResult& result : results) {
    const Json& train = result.task->json.at("train");
    input.settings.emplace_back(result.task->name, "every explainer: " + train.dump());
    input.settings.emplace_back(result.task->name + ", evaluation", result.task->json.at("evaluate").dump());
  }
  input.versions = {{"introspect", INTROSPECT_VERSION}, {"threads", std::to_string(at::get_num_threads())}};
  return input;
}

std::string matrix_csv(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  const auto number = [](double value) { return std::isfinite(value) ? fmt::format("{}", value) : std::string(); };
  std::string csv =
      "task,target,explainer,condition,metric,value,low,high,n,clusters,seeds,difference_to_self,difference_low,"
      "difference_high,p_against_self,validation_loss,remark\n";
  for (const MatrixTaskResult& result : results) {
    const std::string& metric = result.task->metric;
    for (const MatrixTarget& found : result.targets) {
      const std::string begin = csv_field(result.task->name) + "," + csv_field(recipe.model(found.target).name) + ",";
      const auto none = [&](const std::string& explainer, const std::string& why) {
        csv += begin + csv_field(explainer) + ",trained," + metric + ",,,,,,,,,,,," + csv_field(why) + "\n";
      };
      if (!found.refused.empty()) none("", "refused: " + found.refused);
      for (const auto& [place, why] : found.left_out) none(recipe.model(place).name, why);
      for (const Score& score : found.result.scores) {
        if (score.group != "all" || score.metric != metric) continue;
        const auto loss = found.result.validation_loss.find(score.explainer);
        const bool trained = score.condition == "trained" && loss != found.result.validation_loss.end();
        csv += begin + fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", csv_field(score.explainer),
                                   csv_field(score.condition), metric, number(score.value), number(score.low),
                                   number(score.high), score.n, score.clusters, score.seeds,
                                   number(score.difference_to_self), number(score.difference_low),
                                   number(score.difference_high), number(score.p_against_self),
                                   trained ? number(loss->second) : "", csv_field(found.invalid));
      }
    }
  }
  return csv;
}

}  // namespace introspect
