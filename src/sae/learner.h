// One SAE in training: weights, optimiser, latents that died. Shapes: N positions, L latents, D d_model.
//
// Inside, residual states are scaled so that their mean squared distance from the mean is D, as the published settings
// of learning rates and thresholds suppose; sae() folds the scale away. Decoder rows have norm 1 after every step.
#pragma once

#include "base/json.h"
#include "sae/sae_loss.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace introspect {

struct LearnerSettings {
  SaeLossSettings loss;
  Place place{PlaceKind::resid_post, 0};
  int64_t latents = 0;
  double learning_rate = 1e-3;
  int64_t dead_after = 200'000;  // positions without an activation after which a latent counts as dead
  uint64_t seed = 1;
};

class SaeLearner {
 public:
  SaeLearner(const LearnerSettings& settings, int64_t width);

  // Scale, decoder bias and thresholds from the first states [N, D], before the first step.
  void begin(const at::Tensor& states);
  // One step on states [N, D] as the model computes them, with the learning rate times `rate`. Throws Error if the loss
  // is not finite. The gradients of the result are those of the scaled problem.
  SaeLoss step(const at::Tensor& states, double rate);

  // As it stands, for states as the model computes them.
  Sae sae() const;
  int64_t positions() const { return positions_; }
  double dead_share() const;  // of the latents, those that did not fire for dead_after positions
  const LearnerSettings& settings() const { return settings_; }

  // For exact resume: tensors under names that begin with the place, and the rest.
  NamedTensors tensors() const;
  Json state() const;
  void restore(const TrainingState& stored, const Json& state);

 private:
  at::Tensor dead() const;
  std::string prefix() const;
  NamedTensors weights() const;

  LearnerSettings settings_;
  SaeWeights weights_;
  at::Tensor rested_;  // [L] int64: positions since each latent fired
  double scale_ = 1;
  int64_t positions_ = 0;
  std::unique_ptr<Optimizer> optimizer_;
};

}  // namespace introspect
