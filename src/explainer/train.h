// Fine-tuning an explainer on the ground truth of a data set, while it keeps reading what it was raised on.
#pragma once

#include "dataset/example.h"
#include "explainer/explainer.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

// Which weights learn: all; LoRA factors; or, of a model that stays as it is, the projection alone (SelfIE adapters).
enum class TrainMethod { full, lora, frozen };

struct ExplainerTraining {
  ExplainerConfig explainer;
  uint64_t seed = 1;
  TrainMethod method = TrainMethod::full;
  LoraConfig lora;
  int64_t steps = 0;  // 0: as many as `epochs` are
  double epochs = 1;
  int64_t batch = 32;  // examples a step
  double learning_rate = 5e-5;
  double muon_rate = 0;  // full only: Muon for the matrices, learning_rate for the rest
  double weight_decay = 0.01;
  double clip_norm = 1;
  std::string schedule = "constant";
  int64_t warm_up = 0;
  std::string compute = "auto";
  std::string weights = "fp32";           // lora: type of the base model's, "fp32", "bf16" or "int8"
  bool activation_checkpointing = false;  // as ForwardOptions has it
  fs::path projections;                   // least-squares projections: the folder that 'introspect project' wrote
  VectorCondition vectors = VectorCondition::real;  // zero: the floor "retrained without the vector"
  // Replay: a share of each step's tokens comes from the texts that the model was pre-trained on.
  double replay_share = 0;
  Json replay_text;            // [[text]] tables of a pre-training recipe (train/corpus.h)
  fs::path replay_base;        // their relative paths start here
  int64_t validate_every = 0;  // steps; 0: at the end only
  int64_t validation_examples = 256;
  int64_t patience = 0;  // validations without improvement before stopping; 0: never stops early
  int64_t checkpoint_every = 50;
  // Only examples whose attributes have one of these values are learnt: {"wording": ["teacher", "book"]}.
  std::map<std::string, std::vector<std::string>> only;
  // Only so many train examples are learnt, drawn by the data set alone: a smaller number is a part of a larger one,
  // whatever the seed. 0: all. For scaling, with `steps` held equal.
  int64_t examples = 0;

  bool takes(const Example& example) const;
};
// Whether it needs ExplainerTraining::projections.
bool wants_projections(const ExplainerTraining& training);
Json training_to_json(const ExplainerTraining& training);
// The train examples that it learns: those it takes, as many as it wants.
std::vector<const Example*> learnt_examples(const Dataset& dataset, const ExplainerTraining& training);
// From a recipe's table; unknown keys are an Error.
ExplainerTraining parse_training(const Json& table, const std::string& label, const fs::path& base);

struct TrainingProgress {
  int64_t step = 0, steps = 0;
  double loss = 0, answer_tokens_per_second = 0;
  std::optional<double> validation_loss;
};

// Trains a copy of the model in `base_model` on the train split and writes the explainer with the lowest validation
// loss to `folder`, with run.json and log.jsonl. Resumes bit for bit from the last checkpoint; a complete folder of
// the same settings is left alone. The loss of a step is the mean over its answer tokens. Throws Error for an example
// longer than the model's positions, a data set without train examples, and a loss that is not finite.
struct TrainedExplainer {
  bool was_complete = false;
  int64_t steps = 0, answer_tokens = 0;
  double validation_loss = 0;
  double answer_tokens_per_second = 0;
};
TrainedExplainer train_explainer(const fs::path& base_model, const Dataset& dataset, const fs::path& dataset_folder,
                                 const ExplainerTraining& training, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report);

}  // namespace introspect
