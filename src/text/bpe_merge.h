// The inner loop of BPE training: merging the most frequent pair of symbols in a list of counted words.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace introspect::text {

struct CountedWord {
  std::vector<int32_t> symbols;  // at first bytes
  int64_t count = 0;
};

// Up to `wanted` merges; merge i makes the symbol first_new + i. Stops early where no pair counts `smallest_count`.
// `words` is used up. Ties go to the pair with the lower ids.
std::vector<std::pair<int32_t, int32_t>> learn_merges(std::vector<CountedWord> words, int64_t wanted, int32_t first_new,
                                                      int64_t smallest_count);

}  // namespace introspect::text
