// Training SAEs on the residual stream of a model: several layers in one pass over a mixture of texts.
#pragma once

#include "base/json.h"
#include "sae/quality.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

// A recipe: TOML tables [target], [sae], [training] and [[text]] (train/corpus.h: Mixture), as recipes/sae/*.toml show
// and explain. `path` is where it was read from: relative paths in it are taken from its folder.
struct SaeRecipe {
  Json json;
  fs::path path;
};
SaeRecipe read_sae_recipe(const fs::path& path);                    // throws Error for unknown keys
void check_sae_recipe(const Json& json, const std::string& label);  // and for values that cannot be

struct TrainedSae {
  int64_t layer = 0;
  SaeReport report;       // on held-out text of all kinds together
  double dead_share = 0;  // latents that did not fire on the last training.dead_after positions
};
struct SaeTrainResult {
  int64_t steps = 0, positions = 0;  // 0 steps: there was nothing to do
  double positions_per_second = 0;
  std::vector<TrainedSae> saes;
};

// Writes <folder>/layer-<N>/{cfg.json, sae_weights.safetensors} (SAELens layout; takes residual states as the model
// computes them), run.json, log.jsonl with a line a report, checkpoint/ while unfinished. Resumes from the last
// checkpoint bit for bit on the same machine. `say` receives the lines of the opening box.
SaeTrainResult train_saes(const SaeRecipe& recipe, const fs::path& folder,
                          const std::function<void(const std::string&)>& say);

}  // namespace introspect
