// From the scores of a patching run to its page.
#pragma once

#include "evaluate/scores.h"
#include "experiment/recipe.h"
#include "experiment/search.h"

#include <string>
#include <vector>

namespace introspect {

// Writes report.html, report.md and scores.csv and returns the page's path.
fs::path write_patching_report(const Recipe& recipe, const std::vector<Trial>& trials, const Dataset& dataset,
                               const std::vector<Row>& rows, const std::vector<Score>& scores,
                               const std::vector<Comparison>& comparisons, const std::string& command,
                               const fs::path& folder);

}  // namespace introspect
