// The loss of a SAE on a batch and its gradients, written out by hand: only the active latents take part.
// Shapes: N positions, L latents, D d_model.
//
//   reconstruction   mean over positions of |x - x̂|² / D
//   jumprelu         + sparsity_weight (L0 / l0_target - 1)², L0 the mean number of active latents; thresholds learn by
//                    straight-through estimates from what lies within half a `bandwidth` of them and above 0
//                    (Rajamanoharan et al. 2024, "Jumping ahead")
//   dead latents     + auxiliary_weight |e - ê|² / |e|², where e = x - x̂ is what is missing, a constant here, and ê is
//                    made of the auxiliary_k dead latents with the largest max(0, pre) (Gao et al. 2024, AuxK)
#pragma once

#include "sae/sae.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct SaeWeights {
  at::Tensor encoder;       // [L, D]
  at::Tensor encoder_bias;  // [L]
  at::Tensor decoder;       // [L, D]
  at::Tensor decoder_bias;  // [D], subtracted from the input
  at::Tensor threshold;     // [L] jumprelu
};

struct SaeLossSettings {
  SaeKind kind = SaeKind::topk;  // topk or jumprelu
  int64_t k = 16;                // topk
  double l0_target = 16;         // jumprelu
  double bandwidth = 1;
  double sparsity_weight = 1;
  int64_t auxiliary_k = 64;
  double auxiliary_weight = 1.0 / 32;
  at::ScalarType compute = at::kFloat;  // of the encoder's product, which chooses; values are computed in float32
};

struct SaeLoss {
  double reconstruction = 0;  // mean |x - x̂|² / D
  double sparsity = 0, auxiliary = 0;
  double l0 = 0;
  std::vector<int64_t> fired;  // [L] positions on which each latent was active
  SaeWeights gradient;         // of the sum of the three terms; threshold only for jumprelu
};

// x [N, D] float32; `dead` [M] int64, ascending: the latents that the auxiliary term may use. Memory: 2 MB of
// pre-activations at a time, and the entries.
SaeLoss sae_loss(const SaeWeights& weights, const SaeLossSettings& settings, const at::Tensor& x,
                 const at::Tensor& dead);

}  // namespace introspect
