// A recipe walked in small: does everything fit, and how long will the real run take?
//
// A rehearsal keeps what memory depends on (the models, the batch, the compute type, the tokens of a pass) and makes
// everything that only takes time small: three steps of each training, four answers of each row, a dozen prompts. What
// is kept of the data does not depend on the target being right, so that random weights of a real shape
// ('introspect model synthesize') can walk it too. Its scores mean nothing.
#pragma once

#include "experiment/recipe.h"

#include <string>
#include <vector>

namespace introspect {

// Throws Error as parse_recipe does.
Recipe rehearsal_of(const Recipe& recipe);

// What a part of the rehearsal took, and what that part of the recipe comes to in proportion. Answers end before their
// longest, are given many at once, and not every row has every seed: reckoned high, the more so the smaller the model.
struct RehearsedPart {
  std::string name;        // "data set", "training", "answers"; "transfers" are named, not rehearsed
  int64_t folders = 0;     // steps in the sense of run.h: data sets, trainings, rows
  double seconds = 0;      // of the rehearsal
  double real = 0;         // seconds of the recipe; NaN where the recipe takes all that there is
  std::string proportion;  // "300 steps for 2"
};
// From the run.json files below `out`, where `small` was walked for `full`. Throws Error as read_json does.
std::vector<RehearsedPart> reckon(const Recipe& full, const Recipe& small, const fs::path& out);

}  // namespace introspect
