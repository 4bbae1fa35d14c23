// Fine-tuning an explainer on the ground truth of a data set, while it keeps reading what it was raised on.
#pragma once

#include "dataset/example.h"
#include "dataset/label_noise.h"
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

// For an explainer of input ablation that is its own target: as it trains, its behaviour is asked for again.
struct SelfConsistency {
  int64_t every = 20;     // steps
  bool relabel = true;    // what it learns follows its behaviour; false: how far it drifts is only measured
  int64_t prompts = 200;  // fixed ones (of validation) on which drift is measured
};

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
  std::string weights = "fp32";                     // lora: type of the base model's, "fp32", "bf16" or "int8"
  bool activation_checkpointing = false;            // as ForwardOptions has it
  fs::path projections;                             // fitted projections: the folder that 'introspect project' wrote
  VectorCondition vectors = VectorCondition::real;  // zero: the floor "retrained without the vector"
  LayerCondition layers = LayerCondition::real;     // random: "retrained on wrong layers"
  std::optional<LabelNoise> label_noise;            // in the labels that it learns and is validated on
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
  std::optional<SelfConsistency> self_consistency;

  bool takes(const Example& example) const;
};
// Whether its projections are fitted before training: it needs ExplainerTraining::projections.
bool wants_projections(const ExplainerTraining& training);
Json training_to_json(const ExplainerTraining& training);
// The data set with the wrong labels that it wants, if it wants any.
Dataset taught_dataset(const Dataset& dataset, const ExplainerTraining& training);
// The train examples that it learns: those it takes, as many as it wants.
std::vector<const Example*> learnt_examples(const Dataset& dataset, const ExplainerTraining& training);
// From a recipe's table; unknown keys are an Error.
ExplainerTraining parse_training(const Json& table, const std::string& label, const fs::path& base);

// One of several data sets that an explainer learns together.
struct Lesson {
  fs::path folder;
  const Dataset* dataset = nullptr;
  ExplainerTraining training;  // of it alone count: explainer, vectors, layers, label_noise, only, examples,
                               // validation_examples
  double weight = 1;           // its share of the examples of each step, beside the weights of the others
};

// How many steps a training on so many examples has.
int64_t steps_of(const ExplainerTraining& training, int64_t examples);

// How far a model's own behaviour is from what it was when its training began. Shares in [0, 1].
struct Drift {
  int64_t step = 0;
  int64_t prompts = 0, wrong = 0;  // asked; with a wrong hint
  double labels_changed = 0;       // of the true answers an explainer learns: those that are others now
  double right_without = 0;        // right answers without the hint
  double wrong_followed = 0;       // of the wrong hints
  double kl = 0;                   // nats, start against now, of the next token behind the prompt with the hint
};
Json drift_to_json(const Drift& drift);
Drift parse_drift(const Json& json, const std::string& label);

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
  std::vector<Drift> drift;  // with self_consistency: at the start, every so many steps, and of the weights kept
};
TrainedExplainer train_explainer(const fs::path& base_model, const Dataset& dataset, const fs::path& dataset_folder,
                                 const ExplainerTraining& training, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report);

// The same on several data sets at once: each example of a step is of a data set drawn by weight, and the loss is the
// mean over the answer tokens of the step, whatever their task. All else is as `training` says. Validation is the
// weighted mean of the data sets' losses; log.jsonl has each. Throws Error also for two data sets of one task that are
// asked differently, and for vectors of different widths.
TrainedExplainer train_explainer(const fs::path& base_model, const std::vector<Lesson>& lessons,
                                 const ExplainerTraining& training, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report);

}  // namespace introspect
