#include "feature/firings.h"

#include <algorithm>
#include <functional>
#include <limits>

#include <ATen/core/Tensor.h>

// Builds a function for several processors and picks one when the program starts; sanitizers cannot run in front of
// that choice, so they get the plain version.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CLONED __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONED
#endif

namespace introspect {

namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();
constexpr int64_t block = 16;

CLONED void raise(float* highest, const float* row, int64_t count) {
  for (int64_t i = 0; i < count; ++i) highest[i] = row[i] > highest[i] ? row[i] : highest[i];
}

// Blocks of 16 in which a number is above its threshold; returns how many. Most hold none.
CLONED int64_t blocks_above(const float* row, const float* threshold, int64_t count, int32_t* blocks) {
  int64_t found = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int any = 0;
    if (begin + block <= count) {
      for (int64_t i = begin; i < begin + block; ++i) any |= row[i] > threshold[i];
    } else {
      for (int64_t i = begin; i < count; ++i) any |= row[i] > threshold[i];
    }
    blocks[found] = static_cast<int32_t>(begin);
    found += any;
  }
  return found;
}

CLONED int64_t blocks_from(const float* row, float bound, int64_t count, int32_t* blocks) {
  int64_t found = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    int any = 0;
    if (begin + block <= count) {
      for (int64_t i = begin; i < begin + block; ++i) any |= row[i] >= bound;
    } else {
      for (int64_t i = begin; i < count; ++i) any |= row[i] >= bound;
    }
    blocks[found] = static_cast<int32_t>(begin);
    found += any;
  }
  return found;
}

// The highest of every `groups`-th number, for each remainder.
CLONED void group_maxima(const float* row, int64_t count, int64_t groups, float* maxima) {
  for (int64_t g = 0; g < groups; ++g) maxima[g] = row[g];
  int64_t begin = groups;
  for (; begin + groups <= count; begin += groups) {
    for (int64_t g = 0; g < groups; ++g) maxima[g] = row[begin + g] > maxima[g] ? row[begin + g] : maxima[g];
  }
  for (int64_t i = begin; i < count; ++i) maxima[i - begin] = std::max(maxima[i - begin], row[i]);
}

}  // namespace

FiringFinder::FiringFinder(const Sae& sae) : latents_(sae.latents()), threshold_(sae.latents(), 0.0f) {
  if (sae.kind == SaeKind::topk && sae.k < latents_) k_ = sae.k;
  if (!sae.threshold.defined() || (sae.kind != SaeKind::jumprelu && sae.kind != SaeKind::batchtopk)) return;
  const at::Tensor threshold = sae.threshold.to(at::kCPU, at::kFloat).expand({latents_}).contiguous();
  const float* values = threshold.data_ptr<float>();
  for (int64_t i = 0; i < latents_; ++i) threshold_[i] = std::max(0.0f, values[i]);
}

// The k largest of a row that are above 0. As many groups as there are, so many numbers are at least as large as the
// k-th highest of their maxima: it bounds the search, and leaves little more than k numbers to choose from.
void FiringFinder::find_largest(const float* gate, const float* value, int32_t row,
                                std::vector<LatentFiring>& firings) const {
  const int64_t groups = std::min(latents_, (2 * k_ + block - 1) / block * block);
  std::vector<float> maxima(groups);
  group_maxima(gate, latents_, groups, maxima.data());
  std::nth_element(maxima.begin(), maxima.begin() + (k_ - 1), maxima.end(), std::greater<>());
  const float bound = std::max(maxima[k_ - 1], std::numeric_limits<float>::denorm_min());

  std::vector<int32_t> blocks(latents_ / block + 1);
  const int64_t found = blocks_from(gate, bound, latents_, blocks.data());
  std::vector<std::pair<float, int32_t>> largest;
  for (int64_t b = 0; b < found; ++b) {
    const int32_t end = static_cast<int32_t>(std::min<int64_t>(blocks[b] + block, latents_));
    for (int32_t i = blocks[b]; i < end; ++i) {
      if (gate[i] >= bound) largest.emplace_back(gate[i], i);
    }
  }
  if (std::ssize(largest) > k_) {
    std::nth_element(largest.begin(), largest.begin() + k_, largest.end(), std::greater<>());
    largest.resize(k_);
  }
  for (const auto& [pre, latent] : largest) firings.push_back({latent, {row, value[latent]}});
}

void FiringFinder::find(const float* gate, const float* value, const std::vector<bool>& counted,
                        std::vector<LatentFiring>& firings, float* nearest) const {
  firings.clear();
  std::fill(nearest, nearest + latents_, nothing);
  std::vector<int32_t> blocks(latents_ / block + 1);
  for (int64_t t = 0; t < std::ssize(counted); ++t) {
    if (!counted[t]) continue;
    const float *gates = gate + t * latents_, *values = value + t * latents_;
    const auto row = static_cast<int32_t>(t);
    raise(nearest, gates, latents_);
    if (k_ > 0) {
      find_largest(gates, values, row, firings);
      continue;
    }
    const int64_t found = blocks_above(gates, threshold_.data(), latents_, blocks.data());
    for (int64_t b = 0; b < found; ++b) {
      const int32_t end = static_cast<int32_t>(std::min<int64_t>(blocks[b] + block, latents_));
      for (int32_t i = blocks[b]; i < end; ++i) {
        if (gates[i] > threshold_[i] && values[i] > 0) firings.push_back({i, {row, values[i]}});
      }
    }
  }
  std::sort(firings.begin(), firings.end(), [](const LatentFiring& a, const LatentFiring& b) {
    return a.latent != b.latent ? a.latent < b.latent : a.firing.position < b.firing.position;
  });
  for (const LatentFiring& each : firings) nearest[each.latent] = nothing;
  if (k_ == 0) return;
  for (int64_t i = 0; i < latents_; ++i) {
    if (!(nearest[i] > 0)) nearest[i] = nothing;
  }
}

}  // namespace introspect
