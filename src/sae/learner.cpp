#include "sae/learner.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// A jumprelu SAE begins with this many times the active latents it is to have, so that there is something to choose.
constexpr double kFirstActive = 4;
constexpr double kSmallestThreshold = 1e-3;

at::Tensor unit_rows(const at::Tensor& matrix) {
  return matrix / matrix.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

at::Tensor random_directions(int64_t rows, int64_t width, Random random) {
  at::Tensor matrix = at::empty({rows, width}, at::kFloat);
  float* value = matrix.data_ptr<float>();
  for (int64_t i = 0; i < matrix.numel(); ++i) value[i] = static_cast<float>(random.normal());
  return unit_rows(matrix);
}

}  // namespace

SaeLearner::SaeLearner(const LearnerSettings& settings, int64_t width) : settings_(settings) {
  const int64_t latents = settings.latents;
  weights_.decoder = random_directions(latents, width, Random(settings.seed, prefix() + "decoder"));
  weights_.encoder = weights_.decoder.clone();
  weights_.encoder_bias = at::zeros({latents}, at::kFloat);
  weights_.decoder_bias = at::zeros({width}, at::kFloat);
  if (settings.loss.kind == SaeKind::jumprelu) weights_.threshold = at::ones({latents}, at::kFloat);
  rested_ = at::zeros({latents}, at::kLong);
  std::vector<Trainable> trainables;
  for (auto& [name, tensor] : weights()) {
    trainables.push_back({name, tensor, UpdateRule::adamw, settings.learning_rate, 0});
  }
  optimizer_ = std::make_unique<Optimizer>(std::move(trainables), OptimizerSettings{});
}

std::string SaeLearner::prefix() const {
  return place_name(settings_.place) + ".";
}

NamedTensors SaeLearner::weights() const {
  NamedTensors list{{prefix() + "encoder", weights_.encoder},
                    {prefix() + "encoder_bias", weights_.encoder_bias},
                    {prefix() + "decoder", weights_.decoder},
                    {prefix() + "decoder_bias", weights_.decoder_bias}};
  if (weights_.threshold.defined()) list.emplace_back(prefix() + "threshold", weights_.threshold);
  return list;
}

void SaeLearner::begin(const at::Tensor& states) {
  c10::NoGradGuard guard;
  const at::Tensor exact = states.to(at::kDouble), mean = exact.mean(0);
  const double variance = (exact - mean).square().sum(1).mean().item<double>();
  if (!std::isfinite(variance) || variance <= 0) {
    fail("sae", fmt::format("the residual states of {} have the variance {}", place_name(settings_.place), variance),
         "check the target's weights");
  }
  scale_ = std::sqrt(static_cast<double>(exact.size(1)) / variance);
  weights_.decoder_bias.copy_(mean * scale_);
  if (!weights_.threshold.defined()) return;
  // the value that the wanted share of pre-activations is above; some million of them tell it
  const int64_t rows = std::clamp<int64_t>((int64_t{1} << 21) / settings_.latents, 16, 1024);
  const at::Tensor few = exact.narrow(0, 0, std::min(rows, exact.size(0))).to(at::kFloat) * scale_;
  const at::Tensor pre = at::linear(few - weights_.decoder_bias, weights_.encoder).flatten();
  const double share = std::min(0.5, kFirstActive * settings_.loss.l0_target / static_cast<double>(settings_.latents));
  const int64_t rank = std::max<int64_t>(1, static_cast<int64_t>((1 - share) * static_cast<double>(pre.numel())));
  weights_.threshold.fill_(std::max(kSmallestThreshold, std::get<0>(pre.kthvalue(rank)).item<double>()));
}

at::Tensor SaeLearner::dead() const {
  return rested_.ge(settings_.dead_after).nonzero().squeeze(1);
}

double SaeLearner::dead_share() const {
  return rested_.ge(settings_.dead_after).to(at::kDouble).mean().item<double>();
}

SaeLoss SaeLearner::step(const at::Tensor& states, double rate) {
  c10::NoGradGuard guard;
  SaeLoss loss = sae_loss(weights_, settings_.loss, (states.to(at::kFloat) * scale_).contiguous(), dead());
  // what would only lengthen a decoder row is not a step in its direction
  SaeWeights& g = loss.gradient;
  g.decoder -= (g.decoder * weights_.decoder).sum(1, /*keepdim=*/true) * weights_.decoder;
  weights_.encoder.mutable_grad() = g.encoder;
  weights_.encoder_bias.mutable_grad() = g.encoder_bias;
  weights_.decoder.mutable_grad() = g.decoder;
  weights_.decoder_bias.mutable_grad() = g.decoder_bias;
  if (weights_.threshold.defined()) weights_.threshold.mutable_grad() = g.threshold;
  const double norm = optimizer_->step(rate);
  if (!std::isfinite(loss.reconstruction) || !std::isfinite(norm)) {
    fail("sae",
         fmt::format("{}: the loss is {} and the gradient norm {} after {} positions", place_name(settings_.place),
                     loss.reconstruction, norm, positions_),
         "lower learning_rate; the last checkpoint is kept");
  }
  weights_.decoder.copy_(unit_rows(weights_.decoder));
  if (weights_.threshold.defined()) weights_.threshold.clamp_min_(kSmallestThreshold);

  int64_t* rested = rested_.data_ptr<int64_t>();
  for (size_t j = 0; j < loss.fired.size(); ++j) rested[j] = loss.fired[j] > 0 ? 0 : rested[j] + states.size(0);
  positions_ += states.size(0);
  return loss;
}

Sae SaeLearner::sae() const {
  c10::NoGradGuard guard;
  // Inside: pre = encoder (s x - b) + c, and the output is divided by s. With b = s b' this is
  // pre / s = encoder (x - b') + c / s: activations in the units of x, decoder rows as they are.
  Sae sae;
  sae.kind = settings_.loss.kind;
  sae.k = sae.kind == SaeKind::topk ? settings_.loss.k : 0;
  sae.encoder = weights_.encoder.clone();
  sae.encoder_bias = weights_.encoder_bias / scale_;
  sae.decoder = weights_.decoder.clone();
  sae.decoder_bias = weights_.decoder_bias / scale_;
  if (weights_.threshold.defined()) sae.threshold = weights_.threshold / scale_;
  sae.place = settings_.place;
  sae.layout = "saelens";
  return sae;
}

NamedTensors SaeLearner::tensors() const {
  NamedTensors list = weights();
  for (auto& each : optimizer_->state()) list.push_back(each);
  list.emplace_back(prefix() + "rested", rested_);
  return list;
}

Json SaeLearner::state() const {
  return {{"scale", scale_}, {"positions", positions_}, {"steps", optimizer_->steps()}};
}

void SaeLearner::restore(const TrainingState& stored, const Json& state) {
  NamedTensors wanted = weights();
  wanted.emplace_back(prefix() + "rested", rested_);
  stored.copy_into(wanted, "");
  scale_ = json_get<double>(state, "scale", "checkpoint");
  positions_ = json_get<int64_t>(state, "positions", "checkpoint");
  optimizer_->restore(json_get<int64_t>(state, "steps", "checkpoint"), stored.tensors);
}

}  // namespace introspect
