// The page of a matrix: who explains whom, and what each model gains by explaining itself.
#pragma once

#include "experiment/matrix.h"
#include "experiment/task_report.h"
#include "report/table.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

// What a task found about one of its targets.
struct MatrixTarget {
  size_t target = 0;                       // place in MatrixRecipe::models
  std::string refused;                     // why there is no ground truth about it; the rest is then empty
  std::string invalid;                     // why it is no valid test: its gate
  std::vector<size_t> explainers;          // that were trained
  std::map<size_t, std::string> left_out;  // the others, and why
  TaskResult result;
  std::map<size_t, std::vector<LayerSimilarity>> similarity;  // to each explainer, before it was trained
  std::map<int64_t, std::string> group_of_layer;              // "block=1": the scores about a layer of the target
};
struct MatrixTaskResult {
  const MatrixTask* task = nullptr;
  std::vector<MatrixTarget> targets;
};

// "8 layers of width 192", or the class that the recipe gives.
std::string size_of(const MatrixModel& model);

// The conditions of explainers that are asked about another target than the one that they learnt.
constexpr const char* kAsked = "asked_about_another_target";
constexpr const char* kAskedMapped = "asked_about_another_target_mapped";

ReportInput matrix_part(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results,
                        const std::string& command);

// Of a matrix with `transfer`: a section of the page, and sentences for its answer.
struct TransferPart {
  OwnSection section;
  std::vector<std::string> sentences;
};
TransferPart transfer_part(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);

MatrixCell cell_of(const Score& score);
// Over all questions the best floor, or of the controls (RowKind::ablation) the best one of self. None if none was
// asked.
std::optional<RowName> best_of_kind(const ScoreTable& table, const std::string& metric, RowKind kind);
// What the scores call an explainer of a target: "self", or its name.
std::string row_of(const MatrixRecipe& recipe, const MatrixTarget& found, size_t explainer);

// The row of an explainer under one condition minus the one under another, with the paired test of both; none if they
// were not both asked.
std::optional<Difference> paired_difference(const TaskResult& result, const std::string& metric,
                                            const std::string& explainer, const std::string& condition,
                                            const std::string& less_condition);

// One line a cell: task, target, explainer (or floor), what it is, score, test against self, validation loss, remark.
std::string matrix_csv(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);

}  // namespace introspect
