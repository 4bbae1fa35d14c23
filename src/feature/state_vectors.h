// Vectors of the residual stream that are no latents, to ask an explainer about: whole states (ACT) and differences of
// two (ΔACT), as in the paper's tests outside the distribution that explainers learn from.
#pragma once

#include "model/model.h"
#include "procedure/records.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct StateVector {
  int64_t layer = 0;   // the state leaves it
  at::Tensor vector;   // [D]
  std::string from;    // the text, with « » around the token; of a difference both texts
  std::string token;   // a single state's, with its blanks
  int64_t piece = -1;  // a single state's: the row of the pieces
};

// States of tokens drawn at random from random pieces ([P, T] int32, -1 behind the end), the layers in turn; no first
// positions and no special tokens.
std::vector<StateVector> random_states(const Model& model, const Tokenizer& tokenizer, const at::Tensor& pieces,
                                       const std::vector<int64_t>& layers, int64_t count, uint64_t seed);

// h(x) - h(x') at the last token of two statements that end where their object would follow, in the same words of the
// same relation with different subjects and objects. Fewer than `count` where the table has no more pairs.
std::vector<StateVector> state_differences(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                                           const std::vector<int64_t>& layers, int64_t count, uint64_t seed);

}  // namespace introspect
