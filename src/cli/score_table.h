// Scores as a small table on the terminal.
#pragma once

#include <vector>

#include "evaluate/score.h"

namespace introspect {

// One line a row, the headline metrics x100 with their intervals, and p against self.
void print_score_table(const std::vector<Score>& scores);

}  // namespace introspect
