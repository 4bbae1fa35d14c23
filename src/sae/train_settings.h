// The recipe of SAE training, resolved; for train*.cpp only.
#pragma once

#include "sae/learner.h"

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

struct SaeTrainSettings {
  fs::path target;
  std::string target_name;
  std::vector<int64_t> layers;
  LearnerSettings learner;  // place and seed are each layer's
  at::ScalarType save_as = at::kBFloat16;

  int64_t seed = 1;
  int64_t positions = 0;  // training.tokens: those that are trained on
  int64_t batch = 0, block_tokens = 0, pass_tokens = 0, context = 0;
  int64_t warm_up = 0;  // steps
  double decay = 0;     // last share of the steps, in which the learning rate falls to 0
  int64_t report_steps = 0, checkpoint_steps = 0, held_out = 0;
  std::string compute;

  int64_t steps() const { return (positions + batch - 1) / batch; }
  double rate(int64_t step) const;  // factor on the learning rate
};

// Throws Error(usage) for unknown keys, wrong types and values that cannot be.
SaeTrainSettings parse_sae_settings(const Json& json, const fs::path& recipe);

}  // namespace introspect
