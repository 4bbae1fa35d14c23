// From what a SAE's encoder computes to the few numbers that matter of it.
#pragma once

#include "feature/context_set.h"
#include "sae/sae.h"

#include <cstdint>
#include <vector>

namespace introspect {

class FiringFinder {
 public:
  explicit FiringFinder(const Sae& sae);

  // One piece: `gate` and `value` are [rows, L] (see Preactivations), `counted` says which rows count. Firings come by
  // latent, then position. `nearest` [L] gets, for latents that do not fire, their highest gate on the rows that count:
  // for topk only if it is above 0, and so would have been an activation had it won; else and of latents that fire,
  // -infinity.
  void find(const float* gate, const float* value, const std::vector<bool>& counted, std::vector<LatentFiring>& firings,
            float* nearest) const;

 private:
  void find_largest(const float* gate, const float* value, int32_t row, std::vector<LatentFiring>& firings) const;

  int64_t latents_, k_ = 0;  // k_: 0 unless latents compete
  std::vector<float> threshold_;
};

}  // namespace introspect
