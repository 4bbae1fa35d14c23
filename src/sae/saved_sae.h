// SAEs in the layouts they are published in. Every file is checked for names, shapes and finite numbers; what a layout
// scales or folds is made explicit in Sae.
//
//   SAELens      cfg.json, sae_weights.safetensors (W_enc [D, L], b_enc, W_dec [L, D], b_dec; threshold or
//                log_threshold for jumprelu; b_gate, b_mag, r_mag for gated), old and new cfg.json
//   Llama Scope  hyperparams.json, checkpoints/final.safetensors (encoder.weight [L, D], encoder.bias, decoder.weight
//                [D, L], decoder.bias): the input is scaled by sqrt(D) / dataset_average_activation_norm
//   Gemma Scope  params.npz (W_enc, b_enc, W_dec, b_dec, threshold): JumpReLU; place from the folder's path
//   sparsify     cfg.json ("k", "activation"), sae.safetensors (encoder.weight [L, D], encoder.bias, W_dec, b_dec);
//                place from the folder's name
// Activations are in the units that the files' own tools give them. What Sae cannot say is refused by name: other
// architectures and activations, a scale that differs from position to position, transcoders, single attention heads.
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
// Where the SAEs of a folder are, for load_sae one by one: itself, or those below it, in the order of their names
// (numbers by value). Throws Error if there is none.
std::vector<fs::path> find_saes(const fs::path& folder);
// All of them, sorted by layer, then name. Memory: all at once.
std::vector<Sae> load_saes(const fs::path& folder);

// SAELens layout: cfg.json and sae_weights.safetensors in `dtype`. `extra` goes into cfg.json (what it was trained on).
void save_sae(const Sae& sae, const fs::path& folder, at::ScalarType dtype, const Json& extra);

// Throws Error if the SAE says it belongs to another width, or a layer that the target does not have; returns what is
// only suspicious (another model name), for the user to see. `target` names the target's folder.
std::vector<std::string> check_sae(const Sae& sae, const ModelConfig& config, const fs::path& target);

}  // namespace introspect
