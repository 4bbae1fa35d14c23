// Random checkpoints of real shapes: for what size and speed depend on, no weights need to be downloaded.
#pragma once

#include "base/json.h"
#include "model/config.h"
#include "model/names.h"

#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

namespace introspect {

// Of a weight of a new model: normal with this mean and deviation.
struct FirstValues {
  double mean = 0, deviation = 0;
};
FirstValues first_values(const ModelConfig& config, const WeightShape& weight);

struct SynthesizeOptions {
  uint64_t seed = 1;
  uint64_t shard_bytes = 5'000'000'000;  // the most that a file holds, if its first tensor is not larger
  at::ScalarType dtype = at::kBFloat16;
};

struct SynthesizeReport {
  uint64_t bytes = 0;
  int64_t shards = 0, kept = 0;  // kept: whole ones of an earlier, interrupted call
};

// Writes config.json and model.safetensors, or shards with model.safetensors.index.json as Hugging Face does it, the
// index last. `config` is a config.json. Matrices are windows at random places of a million normal numbers, scaled as
// create_model scales them: they look random to whoever computes with them, and are made as fast as they are written.
// What a family initialises in a way of its own is that of a small new model of the family. The seed decides.
// Memory: one tensor. A call that was interrupted goes on with the shards it had not finished. Throws Error for too
// little free disk, before anything is written, and for a folder that holds another model. `report` gets bytes written.
SynthesizeReport synthesize_checkpoint(const Json& config, const fs::path& folder, const SynthesizeOptions& options,
                                       const std::function<void(uint64_t done, uint64_t total)>& report = {});

}  // namespace introspect
