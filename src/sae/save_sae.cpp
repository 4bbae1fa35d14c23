// SAELens layout, written.
#include "base/error.h"
#include "base/files.h"
#include "base/safetensors.h"
#include "sae/saved_sae.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string torch_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      fail("sae", "a SAE is saved as float32, bfloat16 or float16");
  }
}

}  // namespace

void save_sae(const Sae& sae, const fs::path& folder, at::ScalarType dtype, const Json& extra) {
  // a batchtopk SAE in use is a jumprelu SAE, and SAELens saves it as one
  const SaeKind kind = sae.kind == SaeKind::batchtopk ? SaeKind::jumprelu : sae.kind;
  Json config{{"architecture", sae_kind_name(kind)},
              {"d_in", sae.width()},
              {"d_sae", sae.latents()},
              {"dtype", torch_name(dtype)},
              {"device", "cpu"},
              {"model_name", sae.model},
              {"hook_name", place_name(sae.place)},
              {"hook_layer", sae.place.layer},
              {"hook_head_index", nullptr},
              {"prepend_bos", true},
              {"apply_b_dec_to_input", sae.subtract_decoder_bias},
              {"normalize_activations", sae.layer_norm ? "layer_norm" : "none"},
              {"finetuning_scaling_factor", false}};
  // the older name of what makes the activations, which older SAELens and other readers go by
  config["activation_fn_str"] = kind == SaeKind::topk ? "topk" : "relu";
  config["activation_fn_kwargs"] = Json::object();
  if (kind == SaeKind::topk) {
    config["k"] = sae.k;
    config["activation_fn_kwargs"]["k"] = sae.k;
  }
  if (!extra.is_null()) config.update(extra);

  // The input's scale goes into the weights: encoder (s x - b) is (s encoder) (x - b / s), or s encoder x without b.
  const double scale = sae.input_scale;
  const auto stored = [&](const at::Tensor& tensor) {
    const at::Tensor result = tensor.to(dtype).contiguous();
    if (!result.isfinite().all().item<bool>()) {
      fail("sae", fmt::format("weights that are not finite in {} ({})", torch_name(dtype), folder.string()));
    }
    return result;
  };
  std::vector<std::pair<std::string, at::Tensor>> tensors{{"W_enc", stored((sae.encoder * scale).t())},
                                                          {"W_dec", stored(sae.decoder / scale)}};
  const at::Tensor bias = stored(sae.encoder_bias);
  if (kind == SaeKind::gated) {
    tensors.emplace_back("b_mag", bias);
    tensors.emplace_back("b_gate", stored(sae.gate_bias));
    tensors.emplace_back("r_mag", stored(sae.magnitude));
  } else {
    tensors.emplace_back("b_enc", bias);
  }
  tensors.emplace_back("b_dec", stored(sae.decoder_bias / scale));
  if (kind == SaeKind::jumprelu) tensors.emplace_back("threshold", stored(sae.threshold));

  fs::create_directories(folder);
  // the weights last: a folder with both files is whole
  write_json(folder / "cfg.json", config);
  write_safetensors(folder / "sae_weights.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace introspect
