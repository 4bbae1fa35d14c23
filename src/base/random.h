// Named random streams: the same seed and name give the same numbers on every machine, whatever else is drawn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace introspect {

class Random {
 public:
  Random(uint64_t seed, std::string_view name);

  uint64_t next();                                      // 64 uniform bits (xoshiro256++)
  double uniform();                                     // [0, 1)
  uint64_t below(uint64_t bound);                       // [0, bound), unbiased; bound > 0
  double normal();                                      // mean 0, variance 1
  size_t weighted(const std::vector<double>& weights);  // an index with probability proportional to its weight

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  // For exact resume.
  std::string state() const;
  void restore(const std::string& state);

 private:
  uint64_t word_[4];
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace introspect
