// What a target gains by explaining itself: self against the best other explainer of its size, over all questions and
// by kind of question.
#pragma once

#include "experiment/matrix_report.h"

#include <string>
#include <vector>

namespace introspect {

struct Privilege {
  const MatrixTask* task = nullptr;
  const MatrixTarget* found = nullptr;
  std::string target, other, why;  // other: chosen by the validation loss; why: there is none
  const Score *self = nullptr, *best = nullptr;
  double validation_loss = kNoFigure;
  double p_holm = kNoFigure;  // corrected for all tasks and targets
};
std::vector<Privilege> privileges(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);
NamedTable privilege_table(const std::vector<Privilege>& all);
std::vector<std::string> privilege_sentences(const std::vector<Privilege>& all);

// Every explainer by kind of question (token type, block, relation; wording, subject; kind of description, layer): the
// groups with so many items or more, a matrix for each task and target; and for which of them access is shown, with
// Holm's correction over the groups of the target.
constexpr int64_t kItemsOfGroup = 30;
std::vector<MatrixTable> group_matrices(const MatrixRecipe& recipe, const std::vector<Privilege>& all);
std::vector<std::string> group_sentences(const std::vector<Privilege>& all);

}  // namespace introspect
