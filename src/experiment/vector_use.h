// What every explainer of a matrix takes from the vector, and not from the question's words: its score less the best
// that it comes to with another vector, in tasks with vectors_of = "all" in [evaluate].
#pragma once

#include "experiment/matrix_report.h"

#include <string>
#include <vector>

namespace introspect {

struct VectorUse {
  std::string task, target, explainer;
  bool self = false;  // the explainer is the target
  const Score *own = nullptr, *best = nullptr;
  Difference less{};  // own minus best
  double p_holm = 1;  // corrected for all of them
};
// Of an explainer's rows with other vectors the best score of the metric and group of `own`; null: there is none.
const Score* best_control(const std::vector<Score>& scores, const Score& own);

std::vector<VectorUse> vector_uses(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);
NamedTable vector_use_table(const std::vector<VectorUse>& uses);
std::string vector_use_sentence(const std::vector<VectorUse>& uses);

}  // namespace introspect
