#include "model/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace introspect {

int64_t sample_token(const float* logits, int64_t width, const SamplingSettings& settings, Random& random) {
  const auto likelier = [&](int64_t a, int64_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  std::vector<int64_t> tokens(width);
  std::iota(tokens.begin(), tokens.end(), 0);
  if (settings.top_k > 0 && settings.top_k < width) {
    std::nth_element(tokens.begin(), tokens.begin() + settings.top_k - 1, tokens.end(), likelier);
    tokens.resize(settings.top_k);
    std::sort(tokens.begin(), tokens.end());  // the draw must not depend on how the library orders them
  }
  const double largest = *std::max_element(logits, logits + width);
  const auto weight = [&](int64_t token) { return std::exp((logits[token] - largest) / settings.temperature); };
  double total = 0;
  for (int64_t token : tokens) total += weight(token);
  if (settings.top_p < 1) {
    // a heap gives the likeliest one after the other; most often a few are enough
    const auto later = [&](int64_t a, int64_t b) { return likelier(b, a); };
    std::make_heap(tokens.begin(), tokens.end(), later);
    double kept = 0;
    auto end = tokens.end();
    while (end != tokens.begin() && kept < settings.top_p * total) {
      std::pop_heap(tokens.begin(), end, later);
      kept += weight(*--end);
    }
    tokens.erase(tokens.begin(), end);
    total = kept;
  }
  double left = random.uniform() * total;
  for (int64_t token : tokens) {
    left -= weight(token);
    if (left < 0) return token;
  }
  return tokens.back();  // rounding
}

size_t find_stop(std::string_view text, const std::vector<std::string>& stop, size_t from) {
  size_t earliest = std::string_view::npos;
  for (const std::string& each : stop) {
    if (each.empty()) continue;
    const size_t begin = from >= each.size() ? from - each.size() + 1 : 0;
    earliest = std::min(earliest, text.find(each, begin));
  }
  return earliest;
}

}  // namespace introspect
