// A language model that simulates features, trained for a recipe of kind "features", and what it makes of some rows.
// The library's sentences are simulated exactly; a model that has read descriptions scores words of any source.
#pragma once

#include "evaluate/scores.h"
#include "experiment/recipe.h"
#include "feature/simulator_training.h"

#include <optional>
#include <vector>

namespace introspect {

struct SimulatedScores {
  SimulatorQuality quality;   // on validation and test features, with their own description and with another's
  std::vector<Score> scores;  // of some rows, on the metrics that a simulator gives
};

// Trains the recipe's simulator on the train features of the data set (out/simulator) and lets it score, on the first
// test examples that do not stand aside, those of the rows that carry the comparison: explainers as trained, self
// without its vector, the floors without a model, the truth (out/simulated). Empty where the recipe has no [simulator].
std::optional<SimulatedScores> simulator_steps(const Recipe& recipe, const Dataset& dataset,
                                               const std::vector<Row>& rows, const fs::path& out);

}  // namespace introspect
