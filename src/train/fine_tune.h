// The loop of a fine-tuning: steps, validation, checkpoints, the best weights kept. What a step learns is the caller's.
#pragma once

#include "base/json.h"
#include "model/model.h"
#include "train/optimizer.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

struct FineTuning {
  int64_t steps = 100;
  double learning_rate = 1e-3;
  double muon_rate = 0;  // Muon for the matrices, learning_rate for the rest; 0: AdamW for all
  double weight_decay = 0.01;
  double clip_norm = 1;
  std::string schedule = "linear";
  int64_t warm_up = 0;
  int64_t validate_every = 0;  // steps; 0: at the end only
  int64_t checkpoint_every = 50;
  int64_t patience = 0;          // validations without improvement before stopping; 0: never stops early
  bool lower_is_better = false;  // validation values are losses ("validation_loss" in the log)
};
// Throws Error(usage) for numbers out of range and an unknown schedule.
void check_fine_tuning(const FineTuning& settings);
Json fine_tuning_to_json(const FineTuning& settings);  // what determines the result: without checkpoint_every

// Every weight of the model as something to train: the rule and rates of `settings` (embedding and head with AdamW).
std::vector<Trainable> model_trainables(Model& model, const FineTuning& settings);

struct FineTuningProgress {
  int64_t step = 0, steps = 0;
  double loss = 0;  // running mean
  std::optional<double> validation;
};

// What the caller's steps depend on beside the weights and the number of the step: kept in checkpoints.
struct FineTuningState {
  std::function<Json()> save;
  std::function<void(const Json&)> restore;
  std::function<Json()> note;  // further keys of a validation's line in the log
};

struct FineTuned {
  int64_t steps = 0;
  bool stopped_early = false;
  double loss = 0;
  int64_t best_step = 0;
  double best_validation = 0;
};

// Trains in `folder` (log.jsonl; checkpoint/ while unfinished) and leaves in the trainables the weights of the step
// with the best validation value.
//   step      adds gradients to the trainables and returns the loss; what it depends on beside the number of the step
//             is in `state`, so that work that was stopped goes on from the last checkpoint bit for bit. Of several
//             processes (base/distributed.h) each gives its share of both, as parts of a sum
//   validate  null: there is none, and the last weights stay; of several processes the first is asked
// `resume`: go on from the checkpoint, if there is one. Throws Error for a loss that is not finite, and for Ctrl-C once
// a checkpoint is written.
FineTuned fine_tune(const fs::path& folder, bool resume, const std::vector<Trainable>& trainables,
                    const FineTuning& settings, const std::function<double(int64_t step)>& step,
                    const std::function<double()>& validate,
                    const std::function<void(const FineTuningProgress&)>& report, const FineTuningState& state = {});

}  // namespace introspect
