#include "base/error.h"
#include "base/safetensors.h"
#include "model/device_map.h"
#include "model/int8.h"
#include "model/model.h"
#include "model/names.h"

#include <algorithm>
#include <map>
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

// The layer that a weight belongs to, by the number in its name; -1 for those outside the layers.
int64_t layer_of(const std::string& name) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    if (end > begin && name.find_first_not_of("0123456789", begin) >= end) return std::stoll(name.substr(begin, end));
    begin = end + 1;
  }
  return -1;
}

// Where each weight goes.
struct Places {
  std::vector<at::Device> layers;

  at::Device of(const Model& model, const NamedWeight& weight) const {
    const int64_t layer = layer_of(weight.name);
    if (layer >= 0) return layers[layer];
    const bool last =
        weight.tensor == &model.head || weight.tensor == &model.final_norm || weight.tensor == &model.final_norm_bias;
    return last ? layers.back() : layers.front();
  }
};

// The linear layers of the blocks by their weights.
std::map<const at::Tensor*, Linear*> linears_by_weight(Model& model) {
  std::map<const at::Tensor*, Linear*> linears;
  for (const NamedLinear& named : named_linears(model)) linears[&named.linear->weight] = named.linear;
  return linears;
}

}  // namespace

uint64_t weight_bytes(const ModelConfig& config, at::ScalarType dtype) {
  if (dtype != at::kChar) return static_cast<uint64_t>(config.parameter_count()) * c10::elementSize(dtype);
  Model model;
  model.config = config;
  const std::vector<NamedWeight> weights = named_weights(model);
  const auto linears = linears_by_weight(model);
  uint64_t bytes = 0;
  for (const NamedWeight& weight : weights) {
    uint64_t count = 1;
    for (int64_t extent : weight.shape) count *= static_cast<uint64_t>(extent);
    // a scale of four bytes an output channel beside the values
    const uint64_t channels = static_cast<uint64_t>(weight.transposed ? weight.shape[1] : weight.shape[0]);
    bytes += linears.contains(weight.tensor) ? count + 4 * channels : 2 * count;
  }
  return bytes;
}

Model load_model(const fs::path& folder, const LoadOptions& options) {
  Model model;
  model.config = read_config(folder);
  const Checkpoint checkpoint(folder);
  const std::vector<NamedWeight> weights = named_weights(model);
  check_nothing_left(checkpoint, weights, model, folder);
  const bool int8 = options.dtype == at::kChar;
  const at::ScalarType dtype = int8 ? at::kBFloat16 : options.dtype;
  const std::string where = options.device_map.empty() ? options.device : options.device_map;
  const Places places{parse_device_map(where, model.config.layers)};
  const auto linears = linears_by_weight(model);
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
    const at::Device device = places.of(model, weight);
    if (const auto linear = linears.find(weight.tensor); int8 && linear != linears.end()) {
      quantise(*linear->second, stored);
      linear->second->weight = linear->second->weight.to(device);
      linear->second->scale = linear->second->scale.to(device);
    } else {
      // without `mapped` the result must not alias the read-only mapping
      *weight.tensor = stored.to(device, dtype, /*non_blocking=*/false, /*copy=*/!options.mapped);
    }
    if (!weight.tensor->is_alias_of(stored)) checkpoint.let_go(name);
  }
  if (model.config.tied_embeddings) model.head = model.embedding.to(places.layers.back());
  if (int8) {
    model.frozen = "they are int8";
  } else if (options.mapped) {
    model.frozen = "they may be views of the mapped file, which nobody may write to";
  }
  return model;
}

void save_model(const Model& model, const fs::path& folder, at::ScalarType dtype) {
  Model copy = model;  // shares the tensors
  for (const NamedLinear& named : named_linears(copy)) {
    if (named.linear->scale.defined()) fail("model", "a model of int8 weights cannot be saved");
  }
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
  if (!named_linears(copy).front().linear->scale.defined()) copy.frozen.clear();
  if (copy.config.tied_embeddings) copy.head = copy.embedding;
  return copy;
}

std::vector<std::pair<std::string, at::Tensor>> parameters(Model& model) {
  std::vector<std::pair<std::string, at::Tensor>> list;
  for (const NamedWeight& weight : named_weights(model)) list.emplace_back(weight.name, *weight.tensor);
  return list;
}

void require_gradients(Model& model, bool wanted) {
  if (wanted && !model.frozen.empty()) {
    fail("model", fmt::format("these weights cannot be trained: {}", model.frozen),
         "load them in fp32 without mapping, or train LoRA factors");
  }
  for (auto& [name, tensor] : parameters(model)) tensor.requires_grad_(wanted);
}

}  // namespace introspect
