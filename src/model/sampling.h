// The next token from a row of logits, and the search for stop strings. Used by generate.cpp.
#pragma once

#include "base/random.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

struct SamplingSettings {
  double temperature = 1;  // positive
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
};

// Draws a token of logits [width] with one number of `random`. As Hugging Face: temperature, then the top_k likeliest,
// then the fewest of these whose probabilities add up to top_p. Equal logits go by the lower id.
int64_t sample_token(const float* logits, int64_t width, const SamplingSettings& settings, Random& random);

// Where the earliest of `stop` begins in `text`, looking only at what ends behind `from`; npos if nowhere.
size_t find_stop(std::string_view text, const std::vector<std::string>& stop, size_t from = 0);

}  // namespace introspect
