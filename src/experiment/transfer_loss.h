// What it costs to ask an explainer about another target than the one it learnt: over all pairs of targets, and by how
// far apart they stand in the recipe's list (of checkpoints of one training: how many were saved from one to the
// other).
#pragma once

#include "experiment/matrix_report.h"

#include <vector>

namespace introspect {

// Means over pairs, of shares in [0, 1]. Intervals: bootstrap over clusters, the same drawn for every target that has
// them, so that targets that were asked about the same subjects do not count as independent. NaN: nothing was asked so.
struct TransferLoss {
  struct Mean {
    double value, low, high;
  };
  size_t apart = 0;  // places in the list; 0: all pairs of different targets
  int64_t pairs = 0;
  // scores: of the asked targets' own explainers, of the others, and of the others with vectors mapped into the space
  // of the target that they learnt
  Mean own, as_it_is, mapped;
  Mean less_own, mapped_less_own, gained_by_map;  // paired differences; the last: mapped less as it is
};

// First over all pairs, then by distance. Empty where no pair was asked.
std::vector<TransferLoss> transfer_losses(const MatrixRecipe& recipe, const MatrixTaskResult& result);

}  // namespace introspect
