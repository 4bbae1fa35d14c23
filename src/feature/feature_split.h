// Which described features something is trained on, validated on, and measured with in the end.
#pragma once

#include "base/json.h"
#include "feature/contexts.h"
#include "feature/descriptions.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace introspect {

using FeatureId = std::pair<int64_t, int64_t>;  // layer, latent
// The contexts of a feature, from wherever they are kept.
using ContextReader = std::function<FeatureContexts(int64_t layer, int64_t latent)>;

// A feature with the words it is to be known by.
struct WordedFeature {
  int64_t layer = 0, latent = 0;
  std::vector<std::string> descriptions;  // the best first; at least one
};

struct SplitSettings {
  uint64_t seed = 1;
  int64_t descriptions = 1;          // of each feature the best that many
  double minimum_score = 0;          // descriptions with a lower score are left out (one not simulated stays)
  int64_t validation_features = 32;  // not trained on
  int64_t held_out_features = 48;    // to be measured in the end; all that are named are kept out of training
};
Json split_settings_to_json(const SplitSettings& settings);

struct FeatureSplit {
  std::vector<WordedFeature> train, validation, held_out;
  int64_t undescribed = 0;       // without description, or with none of the minimum score
  int64_t silent = 0;            // whose contexts hold no activation
  int64_t held_out_unknown = 0;  // named as held out and not among the features
};
Json split_counts_to_json(const FeatureSplit& split);

// `held_out`: who is to be kept out; empty: as many as the settings say are drawn. Without `contexts` no feature is
// silent. The order of `features` decides nothing. Throws Error(usage) for counts under 1, Error if a part is empty.
FeatureSplit split_features(const std::vector<DescribedFeature>& features, const std::vector<FeatureId>& held_out,
                            const ContextReader& contexts, const SplitSettings& settings);

// Ids from a JSONL file whose lines hold "layer" and "latent" (descriptions.jsonl is one).
std::vector<FeatureId> read_feature_ids(const fs::path& file);

}  // namespace introspect
