// Residual states of a stream of text at one or several places, in random order.
#pragma once

#include "base/json.h"
#include "base/random.h"
#include "model/model.h"
#include "model/taps.h"
#include "train/corpus.h"

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace introspect {

// Ids of every special token.
std::vector<int64_t> special_tokens(const Tokenizer& tokenizer);

struct StateSettings {
  std::vector<Place> places;     // inside blocks
  std::vector<int64_t> special;  // positions of these tokens are left out, and the first of each document
  int64_t pass_tokens = 2048;
  at::ScalarType compute = at::kFloat;
};

// Told how many tokens have been run, and of how many.
using StatesProgress = std::function<void(int64_t, int64_t)>;

// The states [M, D] at each place, float32 on the processor, of the positions that count. Runs the model as far as the
// last place.
std::vector<at::Tensor> states_of(const Model& model, const std::vector<Document>& documents,
                                  const StateSettings& settings, const StatesProgress& ran = {});

// Blocks of text are run and their positions shuffled; when the positions of a block are used up the next is made.
// Memory: 4 D bytes a position of the block and place, twice while it is shuffled.
class StateStream {
 public:
  // The model, and the mixture that the text comes from, must outlive it. `block` is in tokens; `ran` is told of those
  // of a block while it is made.
  StateStream(const Model& model, Mixture& mixture, const StateSettings& settings, int64_t block, uint64_t seed,
              StatesProgress ran = {});

  // [count, D] a place, the same positions in each. What is left of a block when it holds less than `count` positions
  // is not used.
  std::vector<at::Tensor> next(int64_t count);
  // The states of the block at hand, for what is to be known before the first step; the first block is made if needed.
  const std::vector<at::Tensor>& block();

  int64_t tokens() const { return tokens_; }      // run through the model so far
  int64_t left_out() const { return left_out_; }  // of these special or first, or left at the end of a block

  // For exact resume: where the block at hand began. restore() makes it again.
  Json state() const;
  void restore(const Json& state);

 private:
  void make_block();

  const Model& model_;
  Mixture& mixture_;
  StateSettings settings_;
  int64_t block_tokens_;
  StatesProgress ran_;
  Random random_;
  std::vector<at::Tensor> block_;
  int64_t used_ = 0, tokens_ = 0, left_out_ = 0;
  Json began_;
};

}  // namespace introspect
