// How much memory work with a model takes at its peak, part by part, from its configuration alone.
#pragma once

#include "model/config.h"

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

namespace introspect {

enum class PlanTask {
  forward,  // one pass with logits at every position and the residual stream of every layer captured
  answer,   // prompts and a generated continuation, with a cache
  sweep,    // a patching sweep of prompts: clean run, counterfactual run, patches
  train     // a step of fine-tuning
};
PlanTask parse_plan_task(const std::string& name);  // throws Error

struct PlanOptions {
  PlanTask task = PlanTask::forward;
  at::ScalarType dtype = at::kFloat;   // of the weights, as LoadOptions has it
  bool mapped = true;                  // they stay views of the file where they are stored so; never with `full`
  at::ScalarType stored = at::kFloat;  // in the files
  bool cpu = true;
  int64_t batch = 1;
  int64_t tokens = 128;    // of each sequence, what is generated included
  int64_t logit_rows = 0;  // of each sequence, whose logits are computed; 0: the task's own (see the parts)
  bool mixed = false;      // products in bf16 of weights in fp32
  bool full = false;       // train: all weights
  int64_t lora_rank = 16;  // train: factors on every linear layer, if not full
  bool checkpointing = false;
  int64_t blocks = 4;        // sweep
  int64_t pass_rows = 1024;  // sweep: positions of a pass
};

struct PlanPart {
  std::string name;  // "weights, mapped"
  uint64_t bytes = 0;
  std::string from;  // what it is made of
};

struct MemoryPlan {
  std::vector<PlanPart> parts;
  uint64_t total() const;
};

// Throws Error for what cannot be (training int8 or bf16 weights in full, checkpointing of a recurrent model). For
// recurrent models the activations are a rough guess.
MemoryPlan plan_memory(const ModelConfig& config, const PlanOptions& options);

// What would make it fit into `memory` bytes: a line for each change of options that alone is enough, or the smallest
// that all of them together reach.
std::vector<std::string> plan_advice(const ModelConfig& config, const PlanOptions& options, uint64_t memory);

// Bytes of the embedding, of one layer, and of final norm and head, for place_layers. The rest of the plan is spread
// over the layers.
struct PlanShares {
  uint64_t first = 0, layer = 0, last = 0;
};
PlanShares plan_shares(const ModelConfig& config, const PlanOptions& options);

}  // namespace introspect
