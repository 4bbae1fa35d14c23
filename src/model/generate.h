// Text from a model: batched, with a key-value cache and the common beginning of the prompts computed once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/forward.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace introspect {

struct GenerateOptions {
  int64_t max_new_tokens = 50;
  double temperature = 0;          // 0: greedy
  int64_t top_k = 0;               // 0: all
  double top_p = 1;
  uint64_t seed = 0;
  std::vector<std::string> stop;   // generation of a sequence ends when its text ends in one of these (it is cut off)
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
  std::vector<int64_t> tokens;  // without the stop token
  std::string text;             // decoded, cut before a stop string
  bool finished = false;        // false: max_new_tokens was reached
};

// Answers in the order of the prompts, equal to what each prompt gives alone (greedy). Throws Error for a prompt whose
// length with max_new_tokens exceeds the model's positions.
std::vector<Generated> generate(const Model& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                                const GenerateOptions& options = {});

}  // namespace introspect
