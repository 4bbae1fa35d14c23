// One row against self, as the sentences of the answer need it.
#pragma once

#include "report/table.h"

#include <string>

namespace introspect {

// The level at which a difference counts as found.
constexpr double kSignificance = 0.05;

enum class Verdict { unknown, better, worse, not_shown };  // of self

struct Against {
  Verdict verdict = Verdict::unknown;
  double difference = 0;                             // self minus the other row, a share
  std::string range;                                 // "+14.4 to +20.4, p < 0.001"
  std::string words(const std::string& name) const;  // "17.4 points more than its twin (+14.4 to ...)"; empty: unknown
};

// From the other row's score, which holds that row minus self. Unknown if there is none, or it was not tested.
Against against(const ScoreTable& table, const std::string& metric, const std::string& explainer,
                const std::string& condition);

// "33.2% (95% interval 29.1 to 37.4)".
std::string percent_with_interval(const Score& score);

}  // namespace introspect
