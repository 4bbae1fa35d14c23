// sparsify (EleutherAI/sparsify, once "sae"): cfg.json and sae.safetensors in a folder named after the module whose
// output it explains ("layers.10": the residual stream leaving block 10), in a run's folder with config.json.
#include "base/error.h"
#include "sae/layouts.h"

#include <regex>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Modules are named as Hugging Face names them: layers.10, h.10 (GPT-2), embed_tokens, layers.10.mlp.
Place read_place(const fs::path& folder) {
  const std::string name = fs::absolute(folder / ".").lexically_normal().parent_path().filename().string();
  const std::regex module("(?:[a-z_]+\\.)*?(?:layers|h|blocks)[._](\\d{1,6})(?:\\.(\\w+))?");
  const std::regex embedding("(?:[a-z_]+\\.)*?(?:embed_tokens|embed_in|wte)");
  std::smatch match;
  if (std::regex_match(name, embedding)) return {PlaceKind::embed, -1};
  if (std::regex_match(name, match, module)) {
    const std::string part = match[2];
    const int64_t layer = std::stoll(match[1].str());
    if (part.empty()) return {PlaceKind::resid_post, layer};
    if (part == "mlp") return {PlaceKind::mlp_out, layer};
    if (part == "attn" || part == "self_attn" || part == "attention") return {PlaceKind::attention_out, layer};
  }
  fail("sparsify",
       fmt::format("the place is not known: the folder's name is '{}', expected that of a module such as "
                   "layers.10 ({})",
                   name, folder.string()),
       "keep the folders of the run: sparsify names each SAE's folder after its module");
}

// The run's settings lie one folder up.
std::string read_model(const fs::path& folder) {
  const fs::path path = fs::absolute(folder / ".").lexically_normal().parent_path().parent_path() / "config.json";
  if (!fs::exists(path)) return "";
  const Json run = read_json(path);
  const auto model = run.is_object() ? run.find("model") : run.end();
  return model != run.end() && model->is_string() ? model->get<std::string>() : "";
}

}  // namespace

Sae load_sparsify(const fs::path& folder) {
  const fs::path path = folder / "cfg.json";
  const std::string label = path.string();
  const Json config = read_json(path);
  // multi_topk and normalize_decoder concern training alone
  for (const char* option : {"signed", "transcode", "skip_connection", "embed_skip", "gram_lookup"}) {
    if (json_get_or<bool>(config, option, false, label)) {
      fail("sparsify", fmt::format("option '{}' is not supported ({})", option, label));
    }
  }
  const std::string activation = json_get_or<std::string>(config, "activation", "topk", label);
  if (activation != "topk") {
    fail("sparsify", fmt::format("activation '{}' is not supported, expected topk ({})", activation, label));
  }
  Sae sae;
  sae.layout = "sparsify";
  sae.kind = SaeKind::topk;
  sae.place = read_place(folder);
  sae.model = read_model(folder);

  SavedTensors tensors(folder / "sae.safetensors");
  const std::vector<int64_t> shape = tensors.shape("encoder.weight", 2);
  const int64_t latents = shape[0], width = shape[1];
  expect_size(config, "d_in", width, label);
  // 0: as many as the expansion factor says
  if (json_get_or<int64_t>(config, "num_latents", 0, label) != 0) expect_size(config, "num_latents", latents, label);
  sae.k = json_get<int64_t>(config, "k", label);
  check_k(sae.k, latents, label);
  sae.encoder = tensors.take("encoder.weight", shape);
  sae.encoder_bias = tensors.take("encoder.bias", {latents});
  sae.decoder = tensors.take("W_dec", shape);
  sae.decoder_bias = tensors.take("b_dec", {width});
  tensors.expect_all_taken();
  return sae;
}

}  // namespace introspect
