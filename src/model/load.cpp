#include "base/error.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "model/model.h"
#include "model/names.h"

#include <cmath>

#include <ATen/Functions.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Tables of cosines that some old checkpoints store; they are recomputed here.
bool is_rotary_table(const std::string& name) {
  return name.find("rotary_emb.inv_freq") != std::string::npos;
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + "]";
}

void check_nothing_left(const Checkpoint& checkpoint, const std::vector<NamedWeight>& weights, const Model& model,
                        const fs::path& folder) {
  std::vector<std::string> unknown;
  for (const std::string& name : checkpoint.names()) {
    bool known = is_rotary_table(name) || (model.config.tied_embeddings && name == "lm_head.weight");
    for (size_t i = 0; i < weights.size() && !known; ++i) known = weights[i].name == name;
    if (!known) unknown.push_back(name);
  }
  if (!unknown.empty()) {
    fail("model",
         fmt::format("{} tensors that a {} of this config.json does not have, the first '{}' ({})", unknown.size(),
                     model.config.family, unknown.front(), folder.string()),
         "config.json may belong to another checkpoint");
  }
}

}  // namespace

uint64_t weight_bytes(const ModelConfig& config, at::ScalarType dtype) {
  return static_cast<uint64_t>(config.parameter_count()) * c10::elementSize(dtype);
}

Model load_model(const fs::path& folder, const LoadOptions& options) {
  Model model;
  model.config = read_config(folder);
  const Checkpoint checkpoint(folder);
  const std::vector<NamedWeight> weights = named_weights(model);
  check_nothing_left(checkpoint, weights, model, folder);
  for (const NamedWeight& weight : weights) {
    if (!checkpoint.contains(weight.name)) {
      fail("model", fmt::format("tensor '{}' is missing ({})", weight.name, folder.string()),
           "config.json and model.safetensors may belong to different checkpoints");
    }
    const at::Tensor stored = checkpoint.get(weight.name);
    if (stored.sizes() != at::IntArrayRef(weight.shape)) {
      fail("model", fmt::format("tensor '{}': got shape {}, expected {} ({})", weight.name, shape_text(stored.sizes()),
                                shape_text(weight.shape), folder.string()));
    }
    if (!at::isFloatingType(stored.scalar_type())) {
      fail("model", fmt::format("tensor '{}': got type {}, expected a floating-point type ({})", weight.name,
                                checkpoint.info(weight.name).dtype, folder.string()));
    }
    // copy=true: the result must not alias the read-only mapping
    *weight.tensor = stored.to(at::Device(options.device), options.dtype, /*non_blocking=*/false, /*copy=*/true);
  }
  if (model.config.tied_embeddings) model.head = model.embedding;
  return model;
}

void save_model(const Model& model, const fs::path& folder, at::ScalarType dtype) {
  Model copy = model;  // shares the tensors
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const NamedWeight& weight : named_weights(copy)) {
    tensors.emplace_back(weight.name, weight.tensor->detach().to(dtype));
  }
  fs::create_directories(folder);
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  ModelConfig config = model.config;
  config.stored_dtype = dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
  write_json(folder / "config.json", config_to_json(config));
}

Model create_model(const ModelConfig& config, uint64_t seed) {
  Model model;
  model.config = config;
  const double residual_scale = 1.0 / std::sqrt(2.0 * static_cast<double>(config.layers));
  for (const NamedWeight& weight : named_weights(model)) {
    if (weight.shape.size() == 1) {
      const bool bias = weight.name.ends_with(".bias");
      *weight.tensor = bias ? at::zeros(weight.shape) : at::ones(weight.shape);
      continue;
    }
    const bool writes_residual = weight.name.ends_with("o_proj.weight") || weight.name.ends_with("down_proj.weight");
    Random random(seed, weight.name);
    at::Tensor values = at::empty(weight.shape);
    const double deviation = 0.02 * (writes_residual ? residual_scale : 1.0);
    float* data = values.data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(random.normal() * deviation);
    *weight.tensor = values;
  }
  if (config.tied_embeddings) model.head = model.embedding;
  return model;
}

Model clone_model(const Model& model) {
  Model copy = model;
  for (const NamedWeight& weight : named_weights(copy)) *weight.tensor = weight.tensor->detach().clone();
  for (const NamedLinear& named : named_linears(copy)) {
    if (!named.linear->lora) continue;
    auto lora = std::make_shared<Lora>(*named.linear->lora);
    lora->a = lora->a.detach().clone();
    lora->b = lora->b.detach().clone();
    named.linear->lora = lora;
  }
  if (copy.config.tied_embeddings) copy.head = copy.embedding;
  return copy;
}

std::vector<std::pair<std::string, at::Tensor>> parameters(Model& model) {
  std::vector<std::pair<std::string, at::Tensor>> list;
  for (const NamedWeight& weight : named_weights(model)) list.emplace_back(weight.name, *weight.tensor);
  return list;
}

void require_gradients(Model& model, bool wanted) {
  for (auto& [name, tensor] : parameters(model)) tensor.requires_grad_(wanted);
}

}  // namespace introspect
