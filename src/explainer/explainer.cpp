#include "explainer/explainer.h"

#include "base/error.h"
#include "model/weight_type.h"
#include "text/copy_tokenizer.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

Json explainer_config_to_json(const ExplainerConfig& config) {
  Json json{{"task", config.task},
            {"templates", config.style.templates},
            {"add_bos", config.style.add_bos},
            {"chat", config.style.chat},
            {"blank_in_brackets", config.style.blank_in_brackets},
            {"slot_tokens", config.slot_tokens},
            {"injection", injection_to_json(config.injection)}};
  if (!config.style.system.empty()) json["system"] = config.style.system;
  if (!config.style.prefill.empty()) json["prefill"] = config.style.prefill;
  return json;
}

ExplainerConfig parse_explainer_config(const Json& json, const std::string& label) {
  ExplainerConfig config;
  config.task = json_get_or<std::string>(json, "task", "patching", label);
  config.style.templates = json_get_or<std::vector<std::string>>(json, "templates", {}, label);
  config.style.add_bos = json_get_or<bool>(json, "add_bos", true, label);
  config.style.chat = json_get_or<bool>(json, "chat", false, label);
  config.style.system = json_get_or<std::string>(json, "system", "", label);
  config.style.prefill = json_get_or<std::string>(json, "prefill", "", label);
  config.style.blank_in_brackets = json_get_or<bool>(json, "blank_in_brackets", false, label);
  config.slot_tokens = json_get_or<std::vector<std::string>>(json, "slot_tokens", {}, label);
  if (json.contains("injection")) config.injection = parse_injection(json.at("injection"), label);
  return config;
}

Explainer::Explainer(Model given_model, Tokenizer given_tokenizer, ExplainerConfig given_config,
                     std::vector<ExplainerConfig> given_also)
    : model(std::move(given_model)),
      tokenizer(std::move(given_tokenizer)),
      config(std::move(given_config)),
      also(std::move(given_also)) {
  for (size_t task = 0; task < tasks(); ++task) {
    const ExplainerConfig& each = config_of(task);
    if (slot.slot < 0 && (each.task != "ablation" || !each.slot_tokens.empty())) {
      slot = find_slot_tokens(tokenizer, each.slot_tokens);
    }
    if (each.injection.layer >= model.config.layers - 1) {
      fail("explainer",
           fmt::format("injection.layer: got {}, expected less than {}", each.injection.layer, model.config.layers - 1),
           "behind the last layer no other position would see the vector");
    }
  }
  if (slot.slot >= model.config.vocab_size) {
    fail("explainer",
         fmt::format("slot token {}: the model has {} embedding rows", slot.slot, model.config.vocab_size));
  }
  c10::NoGradGuard guard;
  std::vector<at::Tensor> norms;  // in parts: a copy of a large table in float32 may be more than there is room for
  for (const at::Tensor& rows : model.embedding.split(8192)) norms.push_back(rows.to(at::kFloat).norm(2, 1));
  embedding_norm = at::cat(norms).mean().item<double>();
}

void Explainer::ask_about(const std::string& task) {
  if (also.empty() || config.task == task) return;
  for (ExplainerConfig& each : also) {
    if (each.task != task) continue;
    std::swap(config, each);
    return;
  }
  fail("explainer", fmt::format("it was not trained on the task {}", task));
}

ExplainerConfig selfie_config(const ExplainerConfig& asked, double scale) {
  ExplainerConfig config = asked;
  config.style.templates = {"What is the meaning of the word '{v}'? The meaning of the word '{v}' is "};
  config.injection = {};
  config.injection.policy = InjectionPolicy::unit;
  config.injection.scale = scale;
  return config;
}

Explainer open_base(const fs::path& model_folder, const ExplainerConfig& config, const LoadOptions& load,
                    const std::vector<ExplainerConfig>& also) {
  return Explainer(load_model(model_folder, load), Tokenizer::open(model_folder), config, also);
}

Explainer open_explainer(const fs::path& folder) {
  const fs::path path = folder / "explainer.json";
  if (!fs::exists(path)) {
    fail("explainer", fmt::format("no explainer.json (in {})", folder.string()),
         "an explainer is what 'introspect train' writes; 'introspect explainer import' takes published ones");
  }
  const Json json = read_json(path);
  const std::string label = path.string();
  const bool adapter = json_get_or<bool>(json, "adapter", false, label);
  fs::path base = folder;
  if (adapter) {
    base = json_get<std::string>(json, "base_model", label);
    if (base.is_relative()) base = folder / base;
  }
  LoadOptions load;
  load.dtype = parse_weight_type(json_get_or<std::string>(json, "weights", "fp32", label));
  load.mapped = true;
  std::vector<ExplainerConfig> also;
  for (const Json& each : json.value("also", Json::array())) also.push_back(parse_explainer_config(each, label));
  Explainer explainer = open_base(base, parse_explainer_config(json, label), load, also);
  if (adapter) load_lora(explainer.model, folder);
  const fs::path projections = folder / "projections.safetensors";
  if (fs::exists(projections)) explainer.projections = load_projections(projections);
  explainer.embedding_norm = json_get_or<double>(json, "embedding_norm", explainer.embedding_norm, label);
  return explainer;
}

void save_explainer(const Explainer& explainer, const LoraConfig* lora, const fs::path& base_model,
                    const fs::path& folder, const std::string& weights) {
  fs::create_directories(folder);
  if (lora) {
    save_lora(explainer.model, *lora, folder, fs::absolute(base_model).lexically_normal().string());
  } else {
    save_model(explainer.model, folder, at::kFloat);
  }
  copy_tokenizer(base_model, folder);
  if (!explainer.projections.empty()) {
    save_projections(explainer.projections, folder / "projections.safetensors");
  }
  Json json = explainer_config_to_json(explainer.config);
  for (const ExplainerConfig& each : explainer.also) json["also"].push_back(explainer_config_to_json(each));
  json["adapter"] = lora != nullptr;
  if (lora && weights != "fp32") json["weights"] = weights;
  json["base_model"] = fs::absolute(base_model).lexically_normal().string();
  json["embedding_norm"] = explainer.embedding_norm;
  write_json(folder / "explainer.json", json);
}

}  // namespace introspect
