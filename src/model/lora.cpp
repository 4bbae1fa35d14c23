#include "model/lora.h"

#include "base/error.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "model/names.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* prefix = "base_model.model.";

bool is_target(const LoraConfig& config, const std::string& module) {
  return std::find(config.targets.begin(), config.targets.end(), module) != config.targets.end();
}

// Whether the family's checkpoints hold transposed matrices: PEFT says so in adapters (their factors are not).
bool transposed_linears(Model& model) {
  const std::vector<NamedLinear> linears = named_linears(model);
  return !linears.empty() && linears.front().transposed;
}

// Settings of PEFT that change what an adapter computes and that are not supported here.
void refuse_unsupported(const Json& json, bool transposed, const std::string& label) {
  if (!transposed && json_get_or<bool>(json, "fan_in_fan_out", false, label)) {
    fail("lora", fmt::format("fan_in_fan_out: got true, which is not supported for this family ({})", label));
  }
  for (const char* key : {"use_dora", "lora_bias"}) {
    if (json_get_or<bool>(json, key, false, label)) {
      fail("lora", fmt::format("{}: got true, which is not supported ({})", key, label));
    }
  }
  const std::string bias = json_get_or<std::string>(json, "bias", "none", label);
  if (bias != "none") fail("lora", fmt::format("bias: got '{}', expected none ({})", bias, label));
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    const auto found = json.find(key);
    if (found != json.end() && !found->is_null() && !found->empty()) {
      fail("lora", fmt::format("{}: got {}, which is not supported ({})", key, found->dump(), label));
    }
  }
}

// The embedding and the head where an adapter holds them whole; their keys leave `unmatched`.
struct StoredEmbedding {
  std::string name;
  at::Tensor* place;
  at::Tensor tensor;
};
std::vector<StoredEmbedding> stored_embeddings(Model& model, const Checkpoint& checkpoint,
                                                                  std::set<std::string>& unmatched,
                                                                  const std::string& label) {
  std::vector<StoredEmbedding> found;
  for (const NamedWeight& weight : named_weights(model)) {
    if (weight.tensor != &model.embedding && weight.tensor != &model.head) continue;
    const std::string name = prefix + weight.name;
    if (!checkpoint.contains(name)) continue;
    unmatched.erase(name);
    const at::Tensor stored = checkpoint.get(name);
    if (stored.dim() != 2 || stored.size(0) < 1 || stored.size(1) != model.config.d_model) {
      fail("lora", fmt::format("'{}': expected rows of width {} ({})", name, model.config.d_model, label));
    }
    found.push_back({name, weight.tensor, stored.to(weight.tensor->options(), false, true)});
  }
  const bool tied = model.config.tied_embeddings;
  const int64_t rows = found.empty() ? 0 : found.front().tensor.size(0);
  if (!found.empty() && rows != model.config.vocab_size && !tied && found.size() != 2) {
    fail("lora", fmt::format("an embedding of {} rows without a head of as many: the model has {} ({})", rows,
                             model.config.vocab_size, label));
  }
  if (found.size() == 2 && found[1].tensor.size(0) != rows) {
    fail("lora", fmt::format("an embedding of {} rows and a head of {} ({})", rows, found[1].tensor.size(0), label));
  }
  return found;
}

}  // namespace

LoraConfig resolve_targets(LoraConfig config, const ModelConfig& model) {
  if (config.targets.empty()) config.targets = linear_modules(model);
  return config;
}

void add_lora(Model& model, const LoraConfig& given, uint64_t seed) {
  const LoraConfig config = resolve_targets(given, model.config);
  if (config.rank < 1) fail_usage("lora", fmt::format("rank: got {}, expected at least 1", config.rank));
  std::set<std::string> missing(config.targets.begin(), config.targets.end());
  for (const NamedLinear& named : named_linears(model)) missing.erase(named.module);
  if (!missing.empty()) {
    fail_usage("lora",
               fmt::format("target '{}': no linear layer of {} has this name, expected some of {}", *missing.begin(),
                           model.config.family, fmt::join(linear_modules(model.config), ", ")));
  }
  for (const NamedLinear& named : named_linears(model)) {
    if (!is_target(config, named.module)) continue;
    const at::Tensor& weight = named.linear->weight;
    auto lora = std::make_shared<Lora>();
    lora->scale = config.alpha / static_cast<double>(config.rank);
    lora->dropout = config.dropout;
    // kaiming uniform with a = sqrt(5): uniform in +- 1 / sqrt(in)
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.size(1)));
    Random random(seed, "lora " + named.name);
    at::Tensor a = at::empty({config.rank, weight.size(1)});
    float* values = a.data_ptr<float>();
    for (int64_t i = 0; i < a.numel(); ++i) values[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
    lora->a = a.to(weight.device());
    lora->b = at::zeros({weight.size(0), config.rank}, lora->a.options());
    named.linear->lora = lora;
  }
}

LoraConfig load_lora(Model& model, const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  const Json json = read_json(path);
  const std::string label = path.string();
  refuse_unsupported(json, transposed_linears(model), label);
  LoraConfig config;
  config.rank = json_get<int64_t>(json, "r", label);
  config.alpha = json_get<double>(json, "lora_alpha", label);
  config.dropout = json_get_or<double>(json, "lora_dropout", 0.0, label);
  const bool stabilised = json_get_or<bool>(json, "use_rslora", false, label);
  if (json.contains("target_modules") && json["target_modules"].is_array()) {
    config.targets = json_get<std::vector<std::string>>(json, "target_modules", label);
  }

  const Checkpoint checkpoint(folder, "adapter_model");
  std::set<std::string> unmatched;
  for (const std::string& name : checkpoint.names()) unmatched.insert(name);
  std::vector<std::pair<Linear*, std::shared_ptr<Lora>>> read;  // put on the model once all are found good
  for (const NamedLinear& named : named_linears(model)) {
    const std::string a_name = prefix + named.name + ".lora_A.weight";
    const std::string b_name = prefix + named.name + ".lora_B.weight";
    if (!checkpoint.contains(a_name) && !checkpoint.contains(b_name)) {
      if (is_target(config, named.module)) fail("lora", fmt::format("'{}' is missing ({})", a_name, folder.string()));
      continue;
    }
    if (!checkpoint.contains(a_name) || !checkpoint.contains(b_name)) {
      fail("lora", fmt::format("'{}' has only one of its two factors ({})", named.name, folder.string()));
    }
    unmatched.erase(a_name);
    unmatched.erase(b_name);
    const at::Tensor& weight = named.linear->weight;
    auto lora = std::make_shared<Lora>();
    lora->a = checkpoint.get(a_name).to(weight.device(), at::kFloat, false, true);
    lora->b = checkpoint.get(b_name).to(weight.device(), at::kFloat, false, true);
    const int64_t rank = lora->a.dim() == 2 ? lora->a.size(0) : -1;
    if (rank != config.rank || lora->a.size(1) != weight.size(1) || lora->b.dim() != 2 ||
        lora->b.size(0) != weight.size(0) || lora->b.size(1) != rank) {
      fail("lora",
           fmt::format("'{}': the factors do not fit a linear layer of [{}, {}] and rank {} ({})", named.name,
                       weight.size(0), weight.size(1), config.rank, folder.string()),
           "a transposed factor would load elsewhere and compute something else");
    }
    const double rank_value = static_cast<double>(rank);
    lora->scale = config.alpha / (stabilised ? std::sqrt(rank_value) : rank_value);
    lora->dropout = config.dropout;
    read.emplace_back(named.linear, std::move(lora));
  }
  const auto embeddings = stored_embeddings(model, checkpoint, unmatched, folder.string());
  if (json.contains("modules_to_save") && json.at("modules_to_save").is_array()) {
    for (const std::string& module : json_get<std::vector<std::string>>(json, "modules_to_save", label)) {
      const bool there = std::any_of(embeddings.begin(), embeddings.end(), [&](const auto& each) {
        return each.name.ends_with(module + ".weight");
      });
      if (!there) fail("lora", fmt::format("modules_to_save: '{}' is no embedding or head that is stored ({})", module, label));
    }
  }
  if (!unmatched.empty()) {
    fail("lora",
         fmt::format("{} keys match no linear layer of this model, the first '{}' ({})", unmatched.size(),
                     *unmatched.begin(), folder.string()),
         "the adapter may belong to another model");
  }
  remove_lora(model);  // factors of another adapter would stay where this one has none
  for (auto& [linear, lora] : read) linear->lora = std::move(lora);
  for (const StoredEmbedding& stored : embeddings) {
    *stored.place = stored.tensor;
    model.config.vocab_size = stored.tensor.size(0);
  }
  if (model.config.tied_embeddings) model.head = model.embedding;
  return config;
}

void save_lora(const Model& model, const LoraConfig& config, const fs::path& folder, const std::string& base_model) {
  Model shared = model;
  std::vector<std::pair<std::string, at::Tensor>> tensors = lora_parameters(shared);
  for (auto& [name, tensor] : tensors) tensor = tensor.detach();
  fs::create_directories(folder);
  write_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  Json json;
  json["peft_type"] = "LORA";
  json["task_type"] = "CAUSAL_LM";
  json["base_model_name_or_path"] = base_model;
  json["r"] = config.rank;
  json["lora_alpha"] = config.alpha;
  json["lora_dropout"] = config.dropout;
  json["target_modules"] = resolve_targets(config, model.config).targets;
  json["bias"] = "none";
  json["fan_in_fan_out"] = transposed_linears(shared);
  json["inference_mode"] = true;
  json["modules_to_save"] = nullptr;
  json["use_dora"] = false;
  json["use_rslora"] = false;
  write_json(folder / "adapter_config.json", json);
}

void remove_lora(Model& model) {
  for (const NamedLinear& named : named_linears(model)) named.linear->lora.reset();
}

void merge_lora(Model& model) {
  for (const NamedLinear& named : named_linears(model)) {
    if (named.linear->lora && named.linear->scale.defined()) {
      fail("lora", fmt::format("'{}' has int8 weights, into which factors cannot be merged", named.name),
           "load the model in fp32 or bf16");
    }
  }
  for (const NamedLinear& named : named_linears(model)) {
    if (!named.linear->lora) continue;
    const Lora& lora = *named.linear->lora;
    const at::Tensor update = at::matmul(lora.b.detach(), lora.a.detach()) * lora.scale;
    const at::Tensor weight = named.linear->weight.detach();
    named.linear->weight = (weight + update).to(weight.scalar_type());  // rounded once
    named.linear->lora.reset();
  }
}

std::vector<std::pair<std::string, at::Tensor>> lora_parameters(Model& model) {
  std::vector<std::pair<std::string, at::Tensor>> list;
  for (const NamedLinear& named : named_linears(model)) {
    if (!named.linear->lora) continue;
    list.emplace_back(prefix + named.name + ".lora_A.weight", named.linear->lora->a);
    list.emplace_back(prefix + named.name + ".lora_B.weight", named.linear->lora->b);
  }
  return list;
}

}  // namespace introspect
