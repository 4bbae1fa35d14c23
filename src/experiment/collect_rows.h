// Answers put together as the rows that are scored.
#pragma once

#include "dataset/example.h"
#include "evaluate/scores.h"
#include "experiment/recipe.h"
#include "experiment/steps.h"

#include <vector>

namespace introspect {

// The floors that need no model; of features also the nearest neighbours and the true answers.
std::vector<Row> rows_without_model(const Recipe& recipe, const Dataset& dataset);

// The answer sets of each explainer under each condition, a seed each, and the floors that need no model. `features`:
// what scores answers of that task, or null.
std::vector<Row> collect_rows(const Recipe& recipe, const std::vector<AnswerJob>& jobs, const Dataset& dataset,
                              const FeatureScorer* features, const fs::path& out);

}  // namespace introspect
