// SAELens (decoderesearch/SAELens): cfg.json and sae_weights.safetensors, of version 6 and of those before.
#include "base/error.h"
#include "sae/layouts.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::string_view kSupported = "standard, topk, batchtopk, jumprelu or gated";

// cfg.json. Version 6 keeps what concerns the model in "metadata"; before, everything stood side by side.
class Config {
 public:
  explicit Config(const fs::path& path) : json_(read_json(path)), label_(path.string()) {
    if (!json_.is_object()) refuse("got something else than an object");
  }

  const Json& json() const { return json_; }
  const std::string& label() const { return label_; }
  [[noreturn]] void refuse(const std::string& message, std::string_view hint = {}) const {
    fail("saelens", fmt::format("{} ({})", message, label_), hint);
  }

  // The value under the first of `keys` that is there and not null, at the top or in "metadata".
  const Json* find(std::initializer_list<const char*> keys) const {
    const auto metadata = json_.find("metadata");
    for (const char* key : keys) {
      for (const Json* object : {&json_, metadata == json_.end() ? nullptr : &*metadata}) {
        if (!object || !object->is_object()) continue;
        const auto found = object->find(key);
        if (found != object->end() && !found->is_null()) return &*found;
      }
    }
    return nullptr;
  }
  std::string text(std::initializer_list<const char*> keys, const std::string& otherwise) const {
    const Json* value = find(keys);
    if (!value) return otherwise;
    if (!value->is_string()) refuse(fmt::format("key '{}': expected a string", *keys.begin()));
    return value->get<std::string>();
  }
  bool flag(const char* key, bool otherwise) const { return json_get_or<bool>(json_, key, otherwise, label_); }

 private:
  Json json_;
  std::string label_;
};

Place read_place(const Config& config) {
  const std::string hook = config.text({"hook_name", "hook_point"}, "");
  if (hook.empty()) config.refuse("key 'hook_name' is missing: the place in the model is not known");
  if (config.find({"hook_head_index", "hook_point_head_index"})) {
    config.refuse("hook_head_index: a SAE of a single attention head, expected one of the residual stream");
  }
  const std::string hook_out = config.text({"hook_name_out"}, hook);
  if (hook_out != hook) {
    config.refuse(fmt::format("a transcoder from {} to {}, expected a SAE of one place", hook, hook_out));
  }
  const Place place = parse_hook(hook, config.label());
  const Json* layer = config.find({"hook_layer", "hook_point_layer"});
  if (layer && layer->is_number_integer() && place.layer >= 0 && layer->get<int64_t>() != place.layer) {
    config.refuse(fmt::format("hook_layer is {}, but hook_name is {}", layer->get<int64_t>(), hook));
  }
  return place;
}

SaeKind read_kind(const Config& config) {
  const std::string name = config.text({"architecture"}, "standard");
  const std::string activation = config.text({"activation_fn", "activation_fn_str"}, "relu");
  // before version 6 a topk SAE was a standard one with another activation
  if (name == "standard" && activation == "topk") return SaeKind::topk;
  const bool natural = activation == "relu" || activation == name;
  if (!natural) config.refuse(fmt::format("activation '{}' of architecture '{}' is not supported", activation, name));
  // its nested losses are of training alone
  if (name == "matryoshka_batchtopk") return SaeKind::batchtopk;
  for (const SaeKind kind : {SaeKind::standard, SaeKind::topk, SaeKind::batchtopk, SaeKind::jumprelu, SaeKind::gated}) {
    if (sae_kind_name(kind) == name) return kind;
  }
  config.refuse(fmt::format("architecture '{}' is not supported, expected {}", name, kSupported));
}

int64_t read_k(const Config& config, int64_t latents) {
  const auto arguments = config.json().find("activation_fn_kwargs");
  const bool old = !config.json().contains("k") && arguments != config.json().end() && arguments->is_object();
  const int64_t k = json_get<int64_t>(old ? *arguments : config.json(), "k", config.label());
  check_k(k, latents, config.label());
  return k;
}

// The scale of "expected_average_only_in": sqrt(D) / mean norm of the training data. SAELens folds it into the weights
// when it saves a finished SAE; a checkpoint keeps it in activation_scaler.json.
double read_scale(const Config& config, const fs::path& folder) {
  const fs::path scaler = folder / "activation_scaler.json";
  double scale = 0;
  if (const Json* value = config.find({"norm_scaling_factor"})) {
    if (!value->is_number()) config.refuse("norm_scaling_factor: expected a number");
    scale = value->get<double>();
  } else if (fs::exists(scaler)) {
    scale = json_get_or<double>(read_json(scaler), "scaling_factor", 1.0, scaler.string());  // null: folded already
  } else {
    config.refuse(
        "normalize_activations is expected_average_only_in, but the scale of the input is not there",
        "add \"norm_scaling_factor\" to cfg.json: sqrt(d_in) divided by the mean norm of the activations that "
        "the SAE was trained on (SAELens has it for its releases in pretrained_saes.yaml); 1 if the weights "
        "take the activations as they are");
  }
  if (!std::isfinite(scale) || scale <= 0) {
    config.refuse(fmt::format("norm_scaling_factor: got {}, expected a number above 0", scale));
  }
  return scale;
}

void read_normalization(const Config& config, const fs::path& folder, Sae& sae) {
  const auto found = config.json().find("normalize_activations");
  if (found == config.json().end() || found->is_null()) return;
  // once true or false
  const std::string name = found->is_boolean()  ? (found->get<bool>() ? "expected_average_only_in" : "none")
                           : found->is_string() ? found->get<std::string>()
                                                : found->dump();
  if (name == "none") return;
  if (name == "layer_norm") {
    sae.layer_norm = true;
  } else if (name == "expected_average_only_in") {
    sae.input_scale = read_scale(config, folder);
  } else {
    config.refuse(
        fmt::format("normalize_activations '{}' is not supported, expected none, layer_norm or "
                    "expected_average_only_in",
                    name));
  }
}

// A factor for each latent, found after training, on its way into the decoder.
void read_finetuning(const Config& config, SavedTensors& tensors, Sae& sae) {
  for (const char* name : {"finetuning_scaling_factor", "scaling_factor"}) {
    if (!tensors.contains(name)) continue;
    const at::Tensor factor = tensors.take(name, {sae.latents()});
    const bool ones = (factor - 1).abs().max().item<float>() < 1e-6f;
    if (ones) continue;
    if (!config.flag("finetuning_scaling_factor", false)) {
      tensors.refuse(
          fmt::format("tensor '{}' is not all ones, but finetuning_scaling_factor is false in cfg.json", name));
    }
    sae.decoder.mul_(factor.unsqueeze(1));
  }
}

void read_threshold(SavedTensors& tensors, Sae& sae) {
  const int64_t latents = sae.latents();
  if (sae.kind == SaeKind::batchtopk && tensors.contains("topk_threshold")) {  // one number, of a training checkpoint
    const std::vector<int64_t> one = tensors.contains("threshold") ? std::vector<int64_t>{-1} : std::vector<int64_t>{};
    if (!one.empty()) tensors.refuse("both 'threshold' and 'topk_threshold' are there");
    sae.threshold = tensors.take("topk_threshold", one).expand({latents}).clone();
  } else if (tensors.contains("log_threshold")) {
    sae.threshold = tensors.take("log_threshold", {latents}).exp();
    if (!sae.threshold.isfinite().all().item<bool>()) tensors.refuse("exp(log_threshold) is not finite");
  } else {
    sae.threshold = tensors.take("threshold", {latents});
  }
}

}  // namespace

Sae load_saelens(const fs::path& folder) {
  const Config config(folder / "cfg.json");
  Sae sae;
  sae.layout = "saelens";
  sae.kind = read_kind(config);
  sae.place = read_place(config);
  sae.model = config.text({"model_name"}, "");
  sae.subtract_decoder_bias = config.flag("apply_b_dec_to_input", true);
  read_normalization(config, folder, sae);

  SavedTensors tensors(folder / "sae_weights.safetensors");
  const std::vector<int64_t> shape = tensors.shape("W_dec", 2);
  const int64_t latents = shape[0], width = shape[1];
  expect_size(config.json(), "d_in", width, config.label());
  expect_size(config.json(), "d_out", width, config.label());
  expect_size(config.json(), "d_sae", latents, config.label());
  sae.encoder = tensors.take("W_enc", {width, latents}).t();
  sae.decoder = tensors.take("W_dec", shape);
  sae.decoder_bias = tensors.take("b_dec", {width});
  sae.encoder_bias = tensors.take(sae.kind == SaeKind::gated ? "b_mag" : "b_enc", {latents});
  if (sae.kind == SaeKind::gated) {
    sae.gate_bias = tensors.take("b_gate", {latents});
    sae.magnitude = tensors.take("r_mag", {latents});
  }
  if (sae.kind == SaeKind::topk) sae.k = read_k(config, latents);
  if (sae.kind == SaeKind::jumprelu || sae.kind == SaeKind::batchtopk) read_threshold(tensors, sae);
  read_finetuning(config, tensors, sae);
  tensors.expect_all_taken();
  // latents compete, or pass their threshold, by what they add to the reconstruction
  const bool competes = sae.kind == SaeKind::topk || sae.kind == SaeKind::batchtopk;
  if (competes && config.flag("rescale_acts_by_decoder_norm", false)) fold_decoder_norm(sae);
  return sae;
}

}  // namespace introspect
