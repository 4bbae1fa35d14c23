// Training a small model from scratch on a mixture of texts: the toolkit's way to make controlled subjects.
#pragma once

#include "base/json.h"
#include "base/run_record.h"

#include <functional>
#include <string>

#include <nlohmann/json.hpp>

namespace introspect {

// A recipe: TOML tables [model], [training] and [[text]], as recipes/pretrain/*.toml show and explain. `path` is where
// it was read from: relative paths in it are taken from its folder.
struct PretrainRecipe {
  Json json;
  fs::path path;
};
PretrainRecipe read_pretrain_recipe(const fs::path& path);  // throws Error for unknown keys
void check_pretrain_recipe(const Json& json, const std::string& label);

// Where the model as it was at a step of training.snapshots lies: a Hugging Face folder.
fs::path snapshot_folder(const fs::path& folder, int64_t step);

// Runs it into `folder`: a Hugging Face folder (bf16), run.json, checkpoint/ while unfinished, log.jsonl with a line a
// report, snapshots/ with the models at the steps of training.snapshots. Resumes from the last checkpoint bit for bit
// on the same machine and thread count. `seed_override` < 0 keeps the recipe's. Several processes (base/distributed.h)
// share the documents of every step. `say` receives the lines of the opening box; `stepped` is told of every step, and
// without it a line of progress is shown. Throws Error if the loss is not finite, and for a snapshot of a step that
// lies behind what is there already.
struct PretrainResult {
  int64_t steps = 0, tokens = 0;
  double loss = 0;  // of the last report
  double tokens_per_second = 0;
  double product_share = 0;  // floating-point operations a second over the measured matrix-product rate
};
struct PretrainProgress {
  int64_t step = 0, steps = 0;
  double loss = 0, tokens_per_second = 0, product_share = 0;
  std::string note() const;  // "loss 2.310 | 2600 tokens/s | 35% of products"
};
int64_t steps_of(const PretrainRecipe& recipe);
PretrainResult pretrain(const PretrainRecipe& recipe, const fs::path& folder, int64_t seed_override,
                        const std::function<void(const std::string&)>& say,
                        const std::function<void(const PretrainProgress&)>& stepped = {});

}  // namespace introspect
