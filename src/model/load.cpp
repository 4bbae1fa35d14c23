#include "base/error.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "model/model.h"
#include "model/names.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

bool is_buffer(const Family& family, const std::string& name) {
  return std::any_of(family.buffers.begin(), family.buffers.end(),
                     [&](const std::string& end) { return name.ends_with(end); });
}

// The name under which a checkpoint holds a weight: that of a model saved without its head lacks the first part.
std::string stored_name(const Checkpoint& checkpoint, const std::string& name) {
  if (checkpoint.contains(name)) return name;
  const std::string rest = name.substr(name.find('.') + 1);
  return checkpoint.contains(rest) ? rest : name;
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + "]";
}

void check_nothing_left(const Checkpoint& checkpoint, const std::vector<NamedWeight>& weights, const Model& model,
                        const fs::path& folder) {
  const Family& family = family_of(model.config);
  std::set<std::string> expected;
  for (const NamedWeight& weight : weights) expected.insert(stored_name(checkpoint, weight.name));
  std::vector<std::string> unknown;
  for (const std::string& name : checkpoint.names()) {
    const bool known = expected.contains(name) || is_buffer(family, name) ||
                       (model.config.tied_embeddings && name == "lm_head.weight");
    if (!known) unknown.push_back(name);
  }
  if (!unknown.empty()) {
    fail("model",
         fmt::format("{} tensors that a {} of this config.json does not have, the first '{}' ({})", unknown.size(),
                     model.config.family, unknown.front(), folder.string()),
         "config.json may belong to another checkpoint");
  }
}

// The last matrix of an attention, mixer or MLP, as the families call it.
bool writes_residual(const std::string& name) {
  const auto names = {"o_proj", "down_proj", "c_proj", "attention.dense", "dense_4h_to_h", "out_proj", "ffn.value"};
  return std::any_of(names.begin(), names.end(),
                     [&](const char* end) { return name.ends_with(fmt::format("{}.weight", end)); });
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
    const std::string name = stored_name(checkpoint, weight.name);
    if (!checkpoint.contains(name)) {
      fail("model", fmt::format("tensor '{}' is missing ({})", weight.name, folder.string()),
           "config.json and model.safetensors may belong to different checkpoints");
    }
    at::Tensor stored = checkpoint.get(name);
    if (stored.sizes() != at::IntArrayRef(weight.shape)) {
      fail("model", fmt::format("tensor '{}': got shape {}, expected {} ({})", name, shape_text(stored.sizes()),
                                shape_text(weight.shape), folder.string()));
    }
    if (!at::isFloatingType(stored.scalar_type())) {
      fail("model", fmt::format("tensor '{}': got type {}, expected a floating-point type ({})", name,
                                checkpoint.info(name).dtype, folder.string()));
    }
    if (weight.transposed) stored = stored.t().contiguous();
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
    const at::Tensor values = weight.tensor->detach().to(dtype);
    tensors.emplace_back(weight.name, weight.transposed ? values.t() : values);
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
      const bool zero = weight.name.ends_with(".bias") || config.norm == NormKind::rms_plus_one;
      *weight.tensor = zero ? at::zeros(weight.shape) : at::ones(weight.shape);
      continue;
    }
    Random random(seed, weight.name);
    at::Tensor values = at::empty(weight.shape);
    const double deviation = 0.02 * (writes_residual(weight.name) ? residual_scale : 1.0);
    float* data = values.data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(random.normal() * deviation);
    *weight.tensor = weight.transposed ? values.t().contiguous() : values;
  }
  if (const Family& family = family_of(config); family.initialise) family.initialise(model, seed);
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
