// Scores as a small table on the terminal.
#pragma once

#include "evaluate/score.h"

#include <vector>

namespace introspect {

// One line a row, the headline metrics x100 with their intervals, and p against self.
void print_score_table(const std::vector<Score>& scores);

}  // namespace introspect
