// Which layout a folder has, and whether a SAE belongs to a target.
#include "base/error.h"
#include "sae/layouts.h"
#include "sae/saved_sae.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

enum class Layout { none, saelens, llama_scope, gemma_scope, sparsify };

constexpr int kDeepest = 6;  // folders below the one given: layer_20/width_16k/average_l0_71

Layout layout_of(const fs::path& path) {
  if (fs::is_regular_file(path)) return path.extension() == ".npz" ? Layout::gemma_scope : Layout::none;
  if (fs::exists(path / "params.npz")) return Layout::gemma_scope;
  if (fs::exists(path / "hyperparams.json")) return Layout::llama_scope;
  if (!fs::exists(path / "cfg.json")) return Layout::none;
  if (fs::exists(path / "sae_weights.safetensors")) return Layout::saelens;
  return fs::exists(path / "sae.safetensors") ? Layout::sparsify : Layout::none;
}

bool pickled(const fs::path& path) {
  static constexpr std::array kEndings = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"};
  return std::find(kEndings.begin(), kEndings.end(), path.extension()) != kEndings.end();
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

[[noreturn]] void refuse_pickle(const fs::path& path) {
  fail("sae", fmt::format("pickled Python, which can run code when it is read ({})", path.string()),
       fmt::format("convert it in Python:\n"
                   "  import torch, safetensors.torch\n"
                   "  weights = torch.load('{}', weights_only=True, map_location='cpu')\n"
                   "  safetensors.torch.save_file({{name: t.contiguous() for name, t in weights.items()}}, "
                   "'sae_weights.safetensors')\n"
                   "with the names W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec and a cfg.json of SAELens",
                   path.filename().string()));
}

[[noreturn]] void refuse_unknown(const fs::path& path) {
  std::vector<std::string> found;
  if (fs::is_directory(path)) {
    for (const fs::path& entry : sorted_entries(path)) {
      if (pickled(entry)) refuse_pickle(entry);
      if (found.size() < 12) found.push_back(entry.filename().string());
    }
  }
  fail("sae",
       fmt::format("no SAE of a known layout: got {}, expected cfg.json with sae_weights.safetensors (SAELens) or "
                   "sae.safetensors (sparsify), hyperparams.json with checkpoints/final.safetensors (Llama Scope), or "
                   "params.npz (Gemma Scope) ({})",
                   fs::is_directory(path) ? fmt::format("the files [{}]", fmt::join(found, ", ")) : "another file",
                   path.string()),
       fs::is_directory(path) ? "" : "give the SAE's folder");
}

// "layers.10" behind "layers.9": runs of digits are compared as numbers.
bool natural_order(const fs::path& left_path, const fs::path& right_path) {
  const std::string left = left_path.string(), right = right_path.string();
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, j = 0;
  while (i < left.size() && j < right.size()) {
    if (digit(left[i]) && digit(right[j])) {
      const auto number = [&](const std::string& text, size_t& at) {
        while (at < text.size() && text[at] == '0') ++at;
        const size_t begin = at;
        while (at < text.size() && digit(text[at])) ++at;
        return std::pair(at - begin, text.substr(begin, at - begin));
      };
      const auto a = number(left, i), b = number(right, j);
      if (a != b) return a < b;
    } else {
      if (left[i] != right[j]) return left[i] < right[j];
      ++i, ++j;
    }
  }
  return std::pair(left.size() - i, left) < std::pair(right.size() - j, right);
}

void search(const fs::path& folder, int depth, std::vector<fs::path>& found, fs::path& pickle) {
  if (layout_of(folder) != Layout::none) {
    found.push_back(folder);
    return;
  }
  for (const fs::path& entry : sorted_entries(folder)) {
    if (pickle.empty() && pickled(entry)) pickle = entry;
    const bool hidden = entry.filename().string().starts_with(".");
    if (!hidden && depth < kDeepest && fs::is_directory(entry)) search(entry, depth + 1, found, pickle);
  }
}

// Letters and digits of the last part: "meta-llama/Llama-3.1-8B" and "models--meta-llama--Llama-3.1-8B" are one.
std::string short_name(std::string name) {
  if (const size_t slash = name.find_last_of('/'); slash != std::string::npos) name = name.substr(slash + 1);
  if (const size_t dashes = name.rfind("--"); dashes != std::string::npos) name = name.substr(dashes + 2);
  std::string result;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c))) result += static_cast<char>(std::tolower(c));
  }
  return result;
}

}  // namespace

Place parse_hook(const std::string& name, std::string_view label) {
  std::string usual = name;
  for (const auto& [alias, meaning] : {std::pair<std::string_view, std::string_view>{".hook_in", ".hook_resid_pre"},
                                       {".hook_out", ".hook_resid_post"}}) {
    const bool inside = usual.starts_with("blocks.") && std::count(usual.begin(), usual.end(), '.') == 2;
    if (inside && usual.ends_with(alias)) usual.replace(usual.size() - alias.size(), alias.size(), meaning);
  }
  try {
    return parse_place(usual);
  } catch (const Error&) {
    fail("sae", fmt::format("hook '{}': expected a place of the residual stream: blocks.{{i}}.hook_resid_pre, "
                            "hook_resid_mid or hook_resid_post, or hook_embed ({})",
                            name, label));
  }
}

void expect_size(const Json& config, const std::string& key, int64_t size, std::string_view label) {
  const int64_t said = json_get_or<int64_t>(config, key, size, label);
  if (said != size) {
    fail("sae", fmt::format("{} is {}, but the tensors have {} ({})", key, said, size, label));
  }
}

void check_k(int64_t k, int64_t latents, std::string_view label) {
  if (k < 1 || k > latents) {
    fail("sae", fmt::format("k: got {}, expected 1 to the number of latents, {} ({})", k, latents, label));
  }
}

void fold_decoder_norm(Sae& sae) {
  const at::Tensor norm = sae.decoder.norm(2, {1}).clamp_min(1e-8);
  sae.encoder.mul_(norm.unsqueeze(1));
  sae.encoder_bias.mul_(norm);
  sae.decoder.div_(norm.unsqueeze(1));
}

Sae load_sae(const fs::path& path) {
  if (!fs::exists(path)) fail("sae", fmt::format("no such file or folder ({})", path.string()));
  switch (layout_of(path)) {
    case Layout::saelens:
      return load_saelens(path);
    case Layout::llama_scope:
      return load_llama_scope(path);
    case Layout::gemma_scope:
      return load_gemma_scope(fs::is_directory(path) ? path / "params.npz" : path);
    case Layout::sparsify:
      return load_sparsify(path);
    case Layout::none:
      break;
  }
  if (fs::is_regular_file(path) && pickled(path)) refuse_pickle(path);
  refuse_unknown(path);
}

std::vector<fs::path> find_saes(const fs::path& folder) {
  if (!fs::exists(folder)) fail("sae", fmt::format("no such file or folder ({})", folder.string()));
  if (fs::is_regular_file(folder)) return {folder};
  std::vector<fs::path> found;
  fs::path pickle;
  search(folder, 0, found, pickle);
  if (found.empty()) {
    if (!pickle.empty()) refuse_pickle(pickle);
    refuse_unknown(folder);
  }
  std::sort(found.begin(), found.end(), natural_order);
  return found;
}

std::vector<Sae> load_saes(const fs::path& folder) {
  std::vector<Sae> saes;
  for (const fs::path& path : find_saes(folder)) saes.push_back(load_sae(path));
  std::stable_sort(saes.begin(), saes.end(),
                   [](const Sae& left, const Sae& right) { return left.place.layer < right.place.layer; });
  return saes;
}

std::vector<std::string> check_sae(const Sae& sae, const ModelConfig& config, const fs::path& target) {
  const std::string place = place_name(sae.place);
  switch (sae.place.kind) {
    case PlaceKind::embed:
    case PlaceKind::resid_pre:
    case PlaceKind::resid_mid:
    case PlaceKind::resid_post:
      break;
    default:
      fail("sae", fmt::format("a SAE of {}, expected one of the residual stream: resid_pre, resid_mid, resid_post or "
                              "hook_embed",
                              place));
  }
  if (sae.width() != config.d_model) {
    fail("sae",
         fmt::format("width: the SAE has {}, the target's residual stream {} ({})", sae.width(), config.d_model,
                     target.string()),
         sae.model.empty() ? "" : fmt::format("the SAE belongs to {}", sae.model));
  }
  if (sae.place.layer >= config.layers) {
    fail("sae", fmt::format("place: the SAE belongs to {}, the target has layers 0 to {} ({})", place,
                            config.layers - 1, target.string()));
  }
  std::vector<std::string> warnings;
  const std::string name = short_name(sae.model);
  // a folder of the Hugging Face cache ends in snapshots/<hash>: any part of the path may name the model
  const fs::path whole = fs::absolute(target).lexically_normal();
  const bool named =
      std::any_of(whole.begin(), whole.end(), [&](const fs::path& part) { return short_name(part.string()) == name; });
  if (!name.empty() && !named) {
    warnings.push_back(
        fmt::format("the SAE says that it was trained on {}; the target's folder is {}", sae.model, target.string()));
  }
  return warnings;
}

}  // namespace introspect
