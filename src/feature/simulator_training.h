// Training a language model to simulate features: it reads a description and a text and says, for every token, which of
// eleven classes the feature's activation falls into (0: none, 10: the highest that the feature has).
#pragma once

#include "base/run_record.h"
#include "feature/contexts.h"
#include "feature/descriptions.h"
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
  int64_t descriptions = 1;          // of each feature the best that many; each piece has one of them
  double minimum_score = 0;          // descriptions with a lower score are left out (one that was not simulated stays)
  int64_t validation_features = 32;  // not trained on; the step that simulates them best is kept
  int64_t held_out_features = 48;    // looked at in the end; all that are named are kept out of training
  int64_t pieces_of_each_kind = 6;   // of those features
};
Json simulator_training_to_json(const SimulatorTraining& training);
void check_simulator_training(const SimulatorTraining& training);  // throws Error(usage)

using FeatureId = std::pair<int64_t, int64_t>;  // layer, latent
// The contexts of a feature, from wherever they are kept.
using ContextReader = std::function<FeatureContexts(int64_t layer, int64_t latent)>;

// What simulations are worth, for features with their own description and with another feature's.
struct SimulatorQuality {
  ScoreSummary published, with_sign;
  ScoreSummary published_shuffled, with_sign_shuffled;
};
Json quality_to_json(const SimulatorQuality& quality);
SimulatorQuality parse_simulator_quality(const Json& json, const std::string& label);

// A feature that can be learnt or scored.
struct SimulatedFeature {
  int64_t layer = 0, latent = 0;
  std::vector<std::string> descriptions;  // the best first
};
// `pieces_of_each_kind` contexts of each feature. Shuffled: the description of another of the features that reads
// otherwise; the same for every simulator.
SimulatorQuality measure_simulator(const Simulator& simulator, const std::vector<SimulatedFeature>& features,
                                   const ContextReader& contexts, int64_t pieces_of_each_kind, uint64_t seed);

// Which features go where, and how many go nowhere.
struct SimulatorSplit {
  std::vector<SimulatedFeature> train, validation, held_out;
  int64_t undescribed = 0;       // without description, or with none of the minimum score
  int64_t silent = 0;            // whose contexts hold no activation
  int64_t held_out_unknown = 0;  // named as held out and not among the features
};
// `held_out`: who is to be kept out; empty: `held_out_features` of them are drawn.
SimulatorSplit split_features(const std::vector<DescribedFeature>& features, const std::vector<FeatureId>& held_out,
                              const ContextReader& contexts, const SimulatorTraining& training);

struct TrainedSimulator {
  bool was_complete = false;
  int64_t steps = 0, best_step = 0;
  double validation = 0;  // signed correlation, mean over validation features
  SimulatorQuality held_out;
};

// Trains all weights of the model in `base_model` and writes a simulator's folder with run.json and log.jsonl, in the
// published prompt and class tokens, without remapped ids. Resumes bit for bit from the last checkpoint; a complete
// folder of the same settings is left alone. `target`: whose tokens the contexts hold, if not the base model's own.
// `inputs` are what the features and contexts were read from. Throws Error if a split is empty, and for a loss that is
// not finite.
TrainedSimulator train_simulator(const fs::path& base_model, const Tokenizer* target, const SimulatorSplit& split,
                                 const ContextReader& contexts, const SimulatorTraining& training,
                                 std::vector<RunInput> inputs, const fs::path& folder,
                                 const std::function<void(const FineTuningProgress&)>& report);

}  // namespace introspect
