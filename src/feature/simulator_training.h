// Training a language model to simulate features: it reads a description and a text and says, for every token, which of
// eleven classes the feature's activation falls into (0: none, 10: the highest that the feature has).
#pragma once

#include "base/run_record.h"
#include "feature/contexts.h"
#include "feature/feature_split.h"
#include "feature/language_simulator.h"
#include "feature/scores.h"
#include "train/fine_tune.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace introspect {

struct SimulatorTraining {
  FineTuning fine_tuning{.steps = 300, .learning_rate = 1e-3, .muon_rate = 0.006, .warm_up = 20, .validate_every = 100};
  uint64_t seed = 1;
  int64_t batch = 16;  // pieces of text a step, each with a description
  std::string compute = "auto";
  std::string dtype = "fp32";  // of the weights that are written
  // Most tokens are of class 0: they weigh this much in the loss, the others 1.
  double zero_weight = 0.1;
  // Shares of the pieces by what they are to the description. Wrong: a piece on which another feature of the layer
  // fires. Its classes are this feature's own where the piece is among its contexts, else 0.
  std::map<std::string, double> shares = {
      {"top", 0.3}, {"quantile", 0.2}, {"random", 0.1}, {"near miss", 0.2}, {"wrong", 0.2}};
  int64_t pieces_of_each_kind = 6;  // that validation and held-out features are measured with
};
Json simulator_training_to_json(const SimulatorTraining& training);
void check_simulator_training(const SimulatorTraining& training);  // throws Error(usage)

// What simulations are worth, for features with their own description and with another feature's.
struct SimulatorQuality {
  ScoreSummary published, with_sign;
  ScoreSummary published_shuffled, with_sign_shuffled;
};
Json quality_to_json(const SimulatorQuality& quality);
SimulatorQuality parse_simulator_quality(const Json& json, const std::string& label);

// `pieces_of_each_kind` contexts of each feature. Shuffled: the description of another of the features that reads
// otherwise; the same for every simulator. `measured` is told each feature that is done.
SimulatorQuality measure_simulator(const Simulator& simulator, const std::vector<WordedFeature>& features,
                                   const ContextReader& contexts, int64_t pieces_of_each_kind, uint64_t seed,
                                   const std::function<void(size_t index)>& measured = {});

struct TrainedSimulator {
  bool was_complete = false;
  int64_t steps = 0, best_step = 0;
  double validation = 0;  // signed correlation, mean over validation features
  SimulatorQuality held_out;
};

// Trains all weights of the model in `base_model` and writes a simulator's folder with run.json and log.jsonl, in the
// published prompt and class tokens, without remapped ids. Resumes bit for bit from the last checkpoint; a complete
// folder of the same settings is left alone. `target`: whose tokens the contexts hold, if not the base model's own.
// `inputs` are what the features and contexts were read from. Throws Error for a loss that is not finite.
TrainedSimulator train_simulator(const fs::path& base_model, const Tokenizer* target, const FeatureSplit& split,
                                 const ContextReader& contexts, const SimulatorTraining& training,
                                 std::vector<RunInput> inputs, const fs::path& folder,
                                 const std::function<void(const FineTuningProgress&)>& report);

}  // namespace introspect
