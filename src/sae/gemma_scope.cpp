// Gemma Scope (Lieberum et al. 2024, huggingface.co/google/gemma-scope): params.npz, JumpReLU with a threshold a
// latent. The input is not centred by b_dec. No file says which model and layer: the folders do, as in
// gemma-scope-9b-pt-res/layer_20/width_16k/average_l0_71/params.npz.
#include "base/error.h"
#include "sae/layouts.h"

#include <charconv>
#include <cmath>
#include <regex>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

namespace introspect {

namespace {

// What the folders of the release say.
void read_path(const fs::path& params, Sae& sae) {
  const std::string path = fs::absolute(params).lexically_normal().string();
  std::string site = "res";
  const std::regex release("gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)");
  std::smatch match;
  if (std::regex_search(path, match, release)) {
    sae.model = "google/gemma-2-" + match[1].str() + (match[2] == "it" ? "-it" : "");
    site = match[3];
  }
  if (site == "att" || site == "transcoders") {
    fail("gemma-scope", fmt::format("{} of the release, expected SAEs of the residual stream: gemma-scope-...-res ({})",
                                    site == "att" ? "SAEs of attention heads" : "transcoders", path));
  }
  // the last layer in the path: folders above may be named after another
  int64_t layer = -1;
  const std::regex layers("(?:^|/)layer_(\\d{1,6})(?=/)");
  for (std::sregex_iterator each(path.begin(), path.end(), layers), end; each != end; ++each) {
    layer = std::stoll((*each)[1].str());
  }
  if (layer >= 0) {
    sae.place = {site == "mlp" ? PlaceKind::mlp_out : PlaceKind::resid_post, layer};
  } else if (path.find("/embedding/") != std::string::npos) {
    sae.place = {PlaceKind::embed, -1};
  } else {
    fail("gemma-scope", fmt::format("the layer is not known: no folder 'layer_20' in the path ({})", path),
         "keep the folders of the release: layer_20/width_16k/average_l0_71/params.npz");
  }
}

}  // namespace

Sae load_gemma_scope(const fs::path& params) {
  Sae sae;
  sae.layout = "gemma-scope";
  sae.kind = SaeKind::jumprelu;
  sae.subtract_decoder_bias = false;
  read_path(params, sae);

  SavedTensors tensors(params);
  const std::vector<int64_t> shape = tensors.shape("W_dec", 2);
  const int64_t latents = shape[0], width = shape[1];
  sae.encoder = tensors.take("W_enc", {width, latents}).t();
  sae.encoder_bias = tensors.take("b_enc", {latents});
  sae.decoder = tensors.take("W_dec", shape);
  sae.decoder_bias = tensors.take("b_dec", {width});
  sae.threshold = tensors.take("threshold", {latents});
  tensors.expect_all_taken();
  // trained on the rows of the embedding matrix; Gemma's residual stream begins with sqrt(D) times them
  if (sae.place.kind == PlaceKind::embed) sae.input_scale = 1 / std::sqrt(static_cast<double>(width));
  return sae;
}

}  // namespace introspect
