// A reconstructor maps a description back to the vector that it describes: fidelity without labels, after the Natural
// Language Autoencoders (Fraser-Taliente et al. 2026). It is the first layers of a model with a linear map, without
// bias, on the residual state of the prompt's last token, trained to minimise 2 (1 - cosine), the squared distance of
// unit vectors.
//
// Its folder: a Hugging Face folder of the layers kept, head.safetensors ("head" [D_vector, D], "mean.<layer>"
// [D_vector], the mean unit vector of the training features of a layer) and reconstructor.json ("prompt").
#pragma once

#include "base/run_record.h"
#include "feature/feature_split.h"
#include "model/model.h"
#include "sae/sae.h"
#include "text/tokenizer.h"
#include "train/fine_tune.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Descriptions with the vectors they stand for; several may stand for one.
struct DescribedVectors {
  std::vector<int64_t> layers;            // [N] of the target, which the vectors belong to
  std::vector<std::string> descriptions;  // [N]
  at::Tensor vectors;                     // [N, D_vector] of any length but 0

  int64_t size() const { return std::ssize(descriptions); }
};

// Every description of the features with the decoder direction of its latent. Throws Error for a layer of which there
// is no SAE and a latent that its SAE does not have.
DescribedVectors decoder_vectors(const std::vector<WordedFeature>& features, const std::vector<Sae>& saes);

class Reconstructor {
 public:
  // Keeps the first `layers` blocks of `model`. `prompt` holds {layer} and {description} once each.
  Reconstructor(Model model, Tokenizer tokenizer, std::string prompt, int64_t layers);
  static Reconstructor open(const fs::path& folder);  // throws Error for what is missing or misshapen
  void save(const fs::path& folder, const fs::path& tokenizer_folder, const Json& extra) const;

  // Unit vectors [N, D_vector], each the same alone and among others but for rounding. A description too long for the
  // model is cut from behind. Memory: activations of about 4096 positions.
  at::Tensor reconstruct(const std::vector<std::string>& descriptions, const std::vector<int64_t>& layers) const;
  // With gradients, in one pass; not normalised.
  at::Tensor pass(const std::vector<std::string>& descriptions, const std::vector<int64_t>& layers,
                  at::ScalarType compute) const;

  Model model;
  Tokenizer tokenizer;
  std::string prompt;
  at::Tensor head;                      // [D_vector, D]
  std::map<int64_t, at::Tensor> means;  // [D_vector] a layer

 private:
  std::vector<int64_t> ids(const std::string& description, int64_t layer) const;
};

struct Fidelity {
  double cosine = 0, cosine_error = 0;  // mean and its standard error (NaN under two items)
  double distance = 0;                  // mean of 2 (1 - cosine): 0 the same, 2 at right angles
};
struct FidelityReport {
  int64_t items = 0;
  int64_t empty = 0;            // descriptions of blanks: cosine 0, counted in
  std::vector<double> cosines;  // [N]
  Fidelity own;
  // Floors: the description of another item of the layer that reads otherwise (`unshuffled`: of how many there is none;
  // left out of the floor), and the mean vector of the layer's training features (no description at all).
  Fidelity shuffled, mean_vector;
  int64_t unshuffled = 0;
};
FidelityReport measure_fidelity(const Reconstructor& reconstructor, const DescribedVectors& items, uint64_t seed);
Json fidelity_to_json(const FidelityReport& report);  // without the single cosines

struct ReconstructorTraining {
  FineTuning fine_tuning{.steps = 200, .learning_rate = 1e-3, .muon_rate = 0.006, .warm_up = 20, .validate_every = 50};
  uint64_t seed = 1;
  int64_t batch = 32;  // descriptions a step
  int64_t layers = 0;  // of the model that are kept; 0: one more than the deepest layer of the vectors (K + 1)
  std::string prompt = "Feature at layer {layer}: {description}\nVector:";
  std::string compute = "auto";
};
Json reconstructor_training_to_json(const ReconstructorTraining& training);

struct TrainedReconstructor {
  bool was_complete = false;
  int64_t steps = 0, best_step = 0;
  double validation = 0;  // mean cosine
};
// Trains all weights of the kept layers and the head on `train` and writes the folder with run.json and log.jsonl; the
// step with the highest mean cosine on `validation` is kept. Resumes bit for bit. `inputs` are what the items were read
// from. Throws Error for empty splits, zero vectors, and a loss that is not finite.
TrainedReconstructor train_reconstructor(const fs::path& base_model, const DescribedVectors& train,
                                         const DescribedVectors& validation, const ReconstructorTraining& training,
                                         std::vector<RunInput> inputs, const fs::path& folder,
                                         const std::function<void(const FineTuningProgress&)>& report);

}  // namespace introspect
