// What an inverse recipe found, as parts of a page.
#pragma once

#include "experiment/inverse.h"

#include <string>
#include <vector>

namespace introspect {

// The row of the explainer that was trained on the target before it was changed.
constexpr const char* kBeforeTheChange = "trained_before_the_change";

struct FactsKnown {
  int64_t facts = 0, statements = 0, options = 0;  // asked, and right in each form (procedure/fact_check.h)
};

// A model, the target itself or one that was changed, with what was measured of it.
struct Examined {
  std::string name;
  std::vector<std::string> wordings;  // it was changed on; empty: all (of the target: none)
  Dataset dataset;                    // with its own answers; the test examples that were asked
  std::vector<Score> scores;          // of explanations of it
  FactsKnown facts;
};

// `examined`: the target first, then one a behaviour. The first part compares, the others show each one's scores.
std::vector<ReportInput> inverse_parts(const InverseRecipe& recipe, const std::vector<Examined>& examined,
                                       const std::string& command);

}  // namespace introspect
