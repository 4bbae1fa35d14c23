// Text from a model: batched, with a cache (keys and values, or the states of a recurrent model) and the common
// beginning of the prompts computed once.
#pragma once

#include "model/forward.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct GenerateOptions {
  int64_t max_new_tokens = 50;
  double temperature = 0;         // 0: greedy
  int64_t top_k = 0;              // the k likeliest tokens; 0: all
  double top_p = 1;               // then the fewest likeliest tokens that have this probability together
  uint64_t seed = 0;              // each prompt has a random stream of its own, named by this and its place in the list
  std::vector<std::string> stop;  // a sequence ends when its text holds one of these; it and what follows is cut off
  std::vector<int64_t> stop_tokens;  // usually eos
  at::ScalarType compute = at::kFloat;
};

// A prompt, with vectors that take the place of embedding rows ("continuous tokens").
struct Prompt {
  std::vector<int64_t> tokens;
  std::vector<int64_t> slots;  // positions in tokens
  at::Tensor vectors;          // [slots, d_model]; undefined if there are none
  int64_t vector_layer = -1;   // -1: replace the embedding row; l >= 0: add to the output of block l
};

struct Generated {
  std::vector<int64_t> tokens;  // without the stop token, and without those that begin behind the cut of a stop string
  std::string text;             // decoded without special tokens, cut before a stop string
  bool finished = false;        // false: max_new_tokens was reached
};

// Answers in the order of the prompts, equal to what each prompt gives alone (but for rounding: a near tie between two
// tokens may fall otherwise). Throws Error for an empty prompt, slots or vectors that do not fit, a prompt whose length
// with max_new_tokens exceeds the model's positions, and logits that are not finite.
// Memory: prompts are run in groups of at most 16,384 tokens and about 1 GB of cache (one prompt at least).
std::vector<Generated> generate(const Model& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                                const GenerateOptions& options = {});

}  // namespace introspect
