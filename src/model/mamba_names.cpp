// Mamba in the layout of transformers (MambaForCausalLM): config.json, weights, first values.
#include "base/error.h"
#include "base/random.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

namespace introspect {

void read_mamba(const Json& json, const std::string& label, ModelConfig& config) {
  config.mixer = Mixer::mamba;
  config.d_model = read_size(json, "hidden_size", label);
  config.layers = read_size(json, "num_hidden_layers", label);
  config.heads = config.kv_heads = 1;  // nothing is cut into heads
  config.head_dim = config.d_model;
  config.rotary_fraction = 0;
  config.max_positions = unlimited_positions;
  config.norm_epsilon = json_get_or<double>(json, "layer_norm_epsilon", 1e-5, label);
  config.activation = read_activation(json, "hidden_act", "silu", label);
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", true, label);
  Recurrence& sizes = config.recurrence;
  sizes.inner =
      read_size_or(json, "intermediate_size", json_get_or<int64_t>(json, "expand", 2, label) * config.d_model, label);
  sizes.state = read_size_or(json, "state_size", 16, label);
  sizes.convolution = read_size_or(json, "conv_kernel", 4, label);
  const auto rank = json.find("time_step_rank");
  const bool automatic = rank == json.end() || (rank->is_string() && rank->get<std::string>() == "auto");
  sizes.step_rank = automatic ? (config.d_model + 15) / 16 : read_size(json, "time_step_rank", label);
  sizes.bias = json_get_or<bool>(json, "use_bias", false, label);
  sizes.convolution_bias = json_get_or<bool>(json, "use_conv_bias", true, label);
}

void write_mamba(const ModelConfig& config, Json& json) {
  json["hidden_size"] = config.d_model;
  json["num_hidden_layers"] = config.layers;
  json["intermediate_size"] = config.recurrence.inner;
  json["expand"] = config.recurrence.inner / config.d_model;
  json["state_size"] = config.recurrence.state;
  json["conv_kernel"] = config.recurrence.convolution;
  json["time_step_rank"] = config.recurrence.step_rank;
  json["use_bias"] = config.recurrence.bias;
  json["use_conv_bias"] = config.recurrence.convolution_bias;
  json["layer_norm_epsilon"] = config.norm_epsilon;
  json["hidden_act"] = activation_name(config.activation, "gelu_new");
}

std::vector<NamedWeight> mamba_weights(Model& model) {
  const ModelConfig& c = model.config;
  const Recurrence& sizes = c.recurrence;
  std::vector<NamedWeight> weights;
  weights.push_back({"backbone.embeddings.weight", {c.vocab_size, c.d_model}, &model.embedding});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    Mamba& mamba = block.mamba;
    const std::string prefix = fmt::format("backbone.layers.{}.", layer), mixer = prefix + "mixer.";
    add_norm(weights, prefix + "norm", block.attention_norm, nullptr, c.d_model);
    add_linear(weights, mixer + "in_proj", mamba.in, 2 * sizes.inner, c.d_model, sizes.bias);
    weights.push_back({mixer + "conv1d.weight", {sizes.inner, 1, sizes.convolution}, &mamba.convolution});
    if (sizes.convolution_bias) weights.push_back({mixer + "conv1d.bias", {sizes.inner}, &mamba.convolution_bias});
    add_linear(weights, mixer + "x_proj", mamba.select, sizes.step_rank + 2 * sizes.state, sizes.inner, false);
    add_linear(weights, mixer + "dt_proj", mamba.step, sizes.inner, sizes.step_rank, true);
    weights.push_back({mixer + "A_log", {sizes.inner, sizes.state}, &mamba.log_decay});
    weights.push_back({mixer + "D", {sizes.inner}, &mamba.skip});
    add_linear(weights, mixer + "out_proj", mamba.out, c.d_model, sizes.inner, sizes.bias);
  }
  add_norm(weights, "backbone.norm_f", model.final_norm, nullptr, c.d_model);
  if (!c.tied_embeddings) weights.push_back({"lm_head.weight", {c.vocab_size, c.d_model}, &model.head});
  return weights;
}

std::vector<NamedLinear> mamba_linears(Model& model) {
  std::vector<NamedLinear> linears;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Mamba& mamba = model.blocks[layer].mamba;
    const std::string prefix = fmt::format("backbone.layers.{}.mixer.", layer);
    for (const auto& [module, linear] : {std::pair{"in_proj", &mamba.in},
                                         {"x_proj", &mamba.select},
                                         {"dt_proj", &mamba.step},
                                         {"out_proj", &mamba.out}}) {
      linears.push_back({module, prefix + module, linear});
    }
  }
  return linears;
}

// As the authors' code: decays 1 to S, step sizes spread evenly on a logarithmic scale from 0.001 to 0.1.
void initialise_mamba(Model& model, uint64_t seed) {
  const Recurrence& sizes = model.config.recurrence;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Mamba& mamba = model.blocks[layer].mamba;
    Random random(seed, fmt::format("mamba {}", layer));
    const auto uniform = [&](const at::Tensor& tensor, double bound) {
      float* values = tensor.data_ptr<float>();
      for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
    };
    mamba.log_decay = at::arange(1, sizes.state + 1).to(at::kFloat).log().repeat({sizes.inner, 1});
    uniform(mamba.convolution, 1 / std::sqrt(static_cast<double>(sizes.convolution)));
    uniform(mamba.step.weight, 1 / std::sqrt(static_cast<double>(sizes.step_rank)));
    float* bias = mamba.step.bias.data_ptr<float>();
    for (int64_t i = 0; i < sizes.inner; ++i) {
      const double step = 0.001 * std::pow(100.0, random.uniform());
      bias[i] = static_cast<float>(step + std::log(-std::expm1(-step)));  // softplus gives the step back
    }
  }
}

}  // namespace introspect
