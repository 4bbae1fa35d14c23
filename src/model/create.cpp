// New models, without a checkpoint.
#include "base/random.h"
#include "model/model.h"
#include "model/names.h"
#include "model/synthesize.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

namespace {

// The last matrix of an attention, mixer or MLP, as the families call it.
bool writes_residual(const std::string& name) {
  const auto names = {"o_proj", "down_proj", "c_proj", "attention.dense", "dense_4h_to_h", "out_proj", "ffn.value"};
  return std::any_of(names.begin(), names.end(),
                     [&](const char* end) { return name.ends_with(fmt::format("{}.weight", end)); });
}

}  // namespace

FirstValues first_values(const ModelConfig& config, const WeightShape& weight) {
  if (weight.shape.size() == 1) {
    const bool zero = weight.name.ends_with(".bias") || config.norm == NormKind::rms_plus_one;
    return {zero ? 0.0 : 1.0, 0.0};
  }
  const double residual_scale = 1.0 / std::sqrt(2.0 * static_cast<double>(config.layers));
  return {0.0, 0.02 * (writes_residual(weight.name) ? residual_scale : 1.0)};
}

Model create_model(const ModelConfig& config, uint64_t seed) {
  Model model;
  model.config = config;
  for (const NamedWeight& weight : named_weights(model)) {
    const FirstValues first = first_values(config, {weight.name, weight.shape});
    at::Tensor values = at::full(weight.shape, first.mean, at::kFloat);
    if (first.deviation > 0) {
      Random random(seed, weight.name);
      float* data = values.data_ptr<float>();
      for (int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(random.normal() * first.deviation);
    }
    *weight.tensor = weight.transposed ? values.t().contiguous() : values;
  }
  if (const Family& family = family_of(config); family.initialise) family.initialise(model, seed);
  if (config.tied_embeddings) model.head = model.embedding;
  return model;
}

}  // namespace introspect
