// SAEs in the layouts they are published in. Every file is checked for names, shapes and finite numbers; what a layout
// scales or folds is made explicit in Sae.
//
//   SAELens      cfg.json, sae_weights.safetensors (W_enc [D, L], b_enc, W_dec [L, D], b_dec; threshold or
//   log_threshold
//                for jumprelu; b_gate, b_mag, r_mag for gated), old and new cfg.json; normalize_activations
//   Llama Scope  hyperparams.json, checkpoints/final.safetensors (encoder.weight [L, D], encoder.bias, decoder.weight
//                [D, L], decoder.bias): the input is scaled by sqrt(D) / dataset_average_activation_norm
//   Gemma Scope  params.npz (W_enc, b_enc, W_dec, b_dec, threshold): JumpReLU; place from the folder's path
//   sparsify     cfg.json ("k", "activation"), sae.safetensors (encoder.weight [L, D], encoder.bias, W_dec, b_dec)
// A pickled .pt or .pth file can run code when it is read: it is refused, with the way to convert it.
#pragma once

#include "base/json.h"
#include "model/config.h"
#include "sae/sae.h"

#include <filesystem>
#include <vector>

namespace introspect {

// Finds the layout by the files that are there. `path` is the SAE's folder, or its params.npz. Tensors are float32 in
// memory: 8 L D bytes and little more (weights are mapped and converted one at a time; transposes are views).
// Throws Error for an unknown layout, missing or misshapen tensors, NaN, and contradicting metadata.
Sae load_sae(const fs::path& path);
// Every SAE of a folder: itself one, or with one in each subfolder (sorted by layer, then name).
std::vector<Sae> load_saes(const fs::path& folder);

// SAELens layout: cfg.json and sae_weights.safetensors in `dtype`. `extra` goes into cfg.json (what it was trained on).
void save_sae(const Sae& sae, const fs::path& folder, at::ScalarType dtype, const Json& extra);

// Throws Error if the SAE says it belongs to another width, or a layer that the target does not have; returns what is
// only suspicious (another model name), for the user to see. `target` names the target's folder.
std::vector<std::string> check_sae(const Sae& sae, const ModelConfig& config, const fs::path& target);

}  // namespace introspect
