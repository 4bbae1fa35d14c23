// Llama Scope (He et al. 2024, OpenMOSS/Language-Model-SAEs): hyperparams.json and checkpoints/final.safetensors.
//
// The input is scaled to a mean norm of sqrt(D). jump_relu_threshold is in the units of the residual stream as the
// model computes it: in use, their code folds the scale into biases first, and only then compares. (So it grows with
// the layers' norms: 0.20 at layer 8 of norm 6.3, 0.53 at layer 19 of norm 17.1.) Where sparsity_include_decoder_norm
// is set, what is compared is the activation times its decoder direction's norm.
#include "base/error.h"
#include "sae/layouts.h"

#include <cmath>
#include <regex>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

double positive(double value, const char* key, const std::string& label) {
  if (!std::isfinite(value) || value <= 0) {
    fail("llama-scope", fmt::format("{}: got {}, expected a number above 0 ({})", key, value, label));
  }
  return value;
}

// What the input is multiplied with.
double read_scale(const Json& settings, int64_t width, const std::string& label) {
  const std::string way = json_get<std::string>(settings, "norm_activation", label);
  if (way == "inference") return 1;  // folded into the weights already
  if (way != "dataset-wise") {
    fail("llama-scope",
         fmt::format("norm_activation '{}' is not supported, expected dataset-wise or inference ({})", way, label));
  }
  const auto norms = settings.find("dataset_average_activation_norm");
  const Json none = Json::object();
  const Json& norm = norms == settings.end() ? none : *norms;
  const double in = positive(json_get<double>(norm, "in", label), "dataset_average_activation_norm.in", label);
  const double out = json_get_or<double>(norm, "out", in, label);
  if (in != out) {
    fail("llama-scope", fmt::format("dataset_average_activation_norm is {} going in and {} going out at one place ({})",
                                    in, out, label));
  }
  return std::sqrt(static_cast<double>(width)) / in;
}

SaeKind read_kind(const Json& settings, double threshold, const std::string& label) {
  const std::string name = json_get<std::string>(settings, "act_fn", label);
  if (name == "relu") return SaeKind::standard;
  if (name == "jumprelu") return SaeKind::jumprelu;
  // trained with the k largest, used with the threshold that was found for it: as their own code does
  if (name == "topk") return threshold > 0 ? SaeKind::jumprelu : SaeKind::topk;
  fail("llama-scope", fmt::format("act_fn '{}' is not supported, expected relu, topk or jumprelu ({})", name, label));
}

Place read_place(const Json& settings, const std::string& label) {
  const std::string in = json_get<std::string>(settings, "hook_point_in", label);
  const std::string out = json_get_or<std::string>(settings, "hook_point_out", in, label);
  if (in != out) {
    fail("llama-scope", fmt::format("a transcoder from {} to {}, expected a SAE of one place ({})", in, out, label));
  }
  return parse_hook(in, label);
}

// The files do not name the model, the folders of the release do: Llama3_1-8B-Base-L19R-32x.
std::string read_model(const Json& settings, const fs::path& folder, const std::string& label) {
  const std::regex release("Llama3_1-8B-Base-L\\d+\\w+-\\d+x", std::regex::icase);
  const std::string name = fs::absolute(folder).lexically_normal().string();
  return json_get_or<std::string>(settings, "model_name",
                                  std::regex_search(name, release) ? "meta-llama/Llama-3.1-8B" : "", label);
}

}  // namespace

Sae load_llama_scope(const fs::path& folder) {
  const fs::path path = folder / "hyperparams.json";
  const std::string label = path.string();
  const Json settings = read_json(path);
  if (json_get_or<bool>(settings, "use_glu_encoder", false, label)) {
    fail("llama-scope", fmt::format("use_glu_encoder: encoders with a gate are not supported ({})", label));
  }
  Sae sae;
  sae.layout = "llama-scope";
  sae.place = read_place(settings, label);
  sae.model = read_model(settings, folder, label);
  double threshold = json_get_or<double>(settings, "jump_relu_threshold", 0.0, label);
  sae.kind = read_kind(settings, threshold, label);
  if (sae.kind == SaeKind::jumprelu) threshold = json_get<double>(settings, "jump_relu_threshold", label);
  const bool has_bias = json_get_or<bool>(settings, "use_decoder_bias", true, label);
  const bool with_norm = json_get<bool>(settings, "sparsity_include_decoder_norm", label);
  sae.subtract_decoder_bias = has_bias && json_get<bool>(settings, "apply_decoder_bias_to_pre_encoder", label);

  SavedTensors tensors(folder / "checkpoints" / "final.safetensors");
  const std::vector<int64_t> shape = tensors.shape("encoder.weight", 2);
  const int64_t latents = shape[0], width = shape[1];
  expect_size(settings, "d_model", width, label);
  expect_size(settings, "d_sae", latents, label);
  sae.input_scale = read_scale(settings, width, label);
  sae.encoder = tensors.take("encoder.weight", shape);
  sae.encoder_bias = tensors.take("encoder.bias", {latents});
  sae.decoder = tensors.take("decoder.weight", {width, latents}).t();
  sae.decoder_bias = has_bias ? tensors.take("decoder.bias", {width}) : at::zeros({width});
  tensors.expect_all_taken();
  if (sae.kind == SaeKind::jumprelu) {
    // activations are in the units of the scaled input, and so is what they are compared with
    sae.threshold = at::full({latents}, threshold * sae.input_scale);
    if (with_norm) sae.threshold.div_(sae.decoder.norm(2, {1}).clamp_min(1e-8));
  } else if (sae.kind == SaeKind::topk) {
    sae.k = json_get<int64_t>(settings, "top_k", label);
    check_k(sae.k, latents, label);
    if (with_norm) fold_decoder_norm(sae);
  }
  return sae;
}

}  // namespace introspect
