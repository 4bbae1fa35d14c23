// Sparse autoencoders of the residual stream. Shapes: L latents, D d_model, N positions.
//
// Whatever layout a SAE was published in (saved_sae.h), here it has one form, with what its files scale or fold made
// explicit: encode() takes the residual stream as the model computes it, and decode() returns it in the same units.
#pragma once

#include "model/taps.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace fs = std::filesystem;

enum class SaeKind {
  standard,   // max(0, pre)
  topk,       // the k largest of max(0, pre) of a position
  batchtopk,  // in use: pre where it is above a threshold; the k is of training
  jumprelu,   // pre where it is above the latent's threshold
  gated       // a gate decides whether, another scale and bias how much
};
std::string sae_kind_name(SaeKind kind);  // as SAELens writes the architecture: "standard", "topk", ...
SaeKind parse_sae_kind(const std::string& name);

struct Sae {
  SaeKind kind = SaeKind::standard;
  int64_t k = 0;            // topk
  at::Tensor encoder;       // [L, D], a row a latent
  at::Tensor encoder_bias;  // [L]
  at::Tensor decoder;       // [L, D], a row a latent: the decoder direction
  at::Tensor decoder_bias;  // [D]
  at::Tensor threshold;     // [L]: jumprelu, batchtopk
  at::Tensor gate_bias;     // gated [L]: the gate opens where encoder x + gate_bias > 0
  at::Tensor magnitude;     // gated [L]: pre is exp(magnitude) * (encoder x) + encoder_bias

  bool subtract_decoder_bias = true;  // from the input, before encoding
  double input_scale = 1;             // the input is multiplied with it, the reconstruction divided by it
  bool layer_norm = false;            // the input is centred and scaled to deviation 1, each position by itself

  // Where it belongs, as far as its files say.
  Place place{PlaceKind::resid_post, 0};
  std::string model;   // "meta-llama/Llama-3.1-8B"; empty: not said
  std::string layout;  // "saelens", "llama-scope", "gemma-scope", "sparsify"

  int64_t latents() const { return decoder.size(0); }
  int64_t width() const { return decoder.size(1); }
};

// x [N, D] → activations [N, L], float32. Memory: N L floats, twice while it runs; of many latents give few positions.
at::Tensor encode(const Sae& sae, const at::Tensor& x);
// What encode() decides by, for x [N, D]: a latent is active where `gate` [N, L] is above its threshold (0 but for
// jumprelu and batchtopk; for topk it must also be one of the k largest) and `value` [N, L] above 0; its activation is
// then `value`, to the last bit. Both are one tensor, except for gated.
struct Preactivations {
  at::Tensor gate, value;
};
Preactivations preactivations(const Sae& sae, const at::Tensor& x);
// The activations of some latents alone, `latents` [M] int64 → [N, M]. For topk all latents are computed, since they
// compete; for the other kinds only those asked for.
at::Tensor encode_latents(const Sae& sae, const at::Tensor& x, const at::Tensor& latents);
// activations [N, L] → reconstruction [N, D]. `x` is the input of encode(): only layer_norm reads it.
at::Tensor decode(const Sae& sae, const at::Tensor& activations, const at::Tensor& x);

}  // namespace introspect
