// How well a description tells a feature's activations: simulated against true activations, in two definitions.
#pragma once

#include "feature/contexts.h"
#include "feature/simulator.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

enum class ScoreOutcome {
  scored,               // a correlation
  constant_simulation,  // the simulator gives every token the same value: score 0
  empty,                // no description: score 0
  unreadable,           // the simulator cannot read it: score 0
  constant_truth,       // the feature's activations are all the same: no description could score; NaN
  no_contexts           // no contexts of the kinds that are asked for; NaN
};
constexpr size_t kScoreOutcomes = 6;
std::string score_outcome_name(ScoreOutcome outcome);

struct FeatureScore {
  double value = 0;
  ScoreOutcome outcome = ScoreOutcome::scored;
  int64_t contexts = 0;  // that were looked at
};

// As published (paper, "simulator score"): the pieces with the highest activations alone, activations below 0 taken as
// 0, one straight line fitted from simulated to true activations on those very tokens, and the absolute Pearson
// correlation of all of them. The line changes nothing but the sign, which is lost: chance lies above 0.
FeatureScore published_score(const std::string& description, const FeatureContexts& contexts,
                             const Simulator& simulator, int64_t pieces = 20);

// Ours: top, random and near-miss pieces, all tokens together, the correlation with its sign. A description that says
// the opposite scores below 0, one that says nothing scores 0 on average.
FeatureScore signed_score(const std::string& description, const FeatureContexts& contexts, const Simulator& simulator);

// Both of the same simulation.
struct DescriptionScores {
  FeatureScore published, with_sign;
};
DescriptionScores score_description(const std::string& description, const FeatureContexts& contexts,
                                    const Simulator& simulator);

// The first `count` contexts of each kind: less to simulate.
FeatureContexts first_of_each_kind(const FeatureContexts& contexts, int64_t count);

// Over features: the mean counts every feature whose score is a number. Standard error of that mean (NaN under two).
struct ScoreSummary {
  int64_t features = 0, counted = 0;
  double mean = 0, standard_error = 0;
  std::array<int64_t, kScoreOutcomes> outcomes{};  // by ScoreOutcome
};
ScoreSummary summarise(const std::vector<FeatureScore>& scores);

}  // namespace introspect
