// Contexts of any direction of the residual stream after a layer, not only of a SAE's latents: whole activations (ACT),
// differences of two (ΔACT), columns of a weight. Its activation on a token is a_v(x, l, t) = <h_{l,t}(x), v>, of
// either sign (the quantity that feature descriptions explain; paper, section on feature descriptions).
#pragma once

#include "feature/contexts.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// The residual stream after some layers on a pool of pieces, computed once for any number of directions.
// Memory: 4 P T D bytes a layer.
class PoolStates {
 public:
  // tokens [P, T] int32 or int64, -1 behind the end of a piece (ContextStore::random_tokens gives such a pool); each
  // piece is run as a sequence of its own. Throws Error for a pool without pieces, -1 in front of a token, layers that
  // the model does not have, and states that are not finite.
  PoolStates(const Model& model, const Tokenizer& tokenizer, const at::Tensor& tokens,
             const std::vector<int64_t>& layers);

  const at::Tensor& tokens() const { return tokens_; }    // [P, T] int32
  const at::Tensor& counted() const { return counted_; }  // [P, T] bool: no first position, special token or end
  const at::Tensor& states(int64_t layer) const;          // [P, T, D] float32, 0 where nothing counts

 private:
  at::Tensor tokens_, counted_;
  std::map<int64_t, at::Tensor> states_;
};

struct DirectionSettings {
  int64_t top = 20;     // pieces with the highest activation
  int64_t random = 20;  // drawn from the other pieces, the same order of preference for all directions
  uint64_t seed = 1;
};

// Contexts of each row of `directions` [M, D], taken as they are (no scaling). A pool of fewer pieces gives fewer
// contexts. `latent` of the result is the row. Memory: 256 MB at most beside the result.
std::vector<FeatureContexts> contexts_of_directions(const PoolStates& pool, int64_t layer, const at::Tensor& directions,
                                                    const DirectionSettings& settings = {});
FeatureContexts contexts_of_direction(const PoolStates& pool, int64_t layer, const at::Tensor& direction,
                                      const DirectionSettings& settings = {});

}  // namespace introspect
