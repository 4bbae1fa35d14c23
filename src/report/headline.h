// The answer in sentences, made from the scores alone: what was measured, whether self beats the twin and itself
// without the vector, and what follows. It says so when there is no effect.
#pragma once

#include "report/table.h"

#include <string>
#include <vector>

namespace introspect {

// The level at which a difference counts as found.
constexpr double kSignificance = 0.05;

std::vector<std::string> headline_sentences(const ScoreTable& table);

}  // namespace introspect
