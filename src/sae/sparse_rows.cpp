#include "sae/sparse_rows.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

// Built for several processors, of which one is picked when the program starts (see model/kernels_cpu.cpp).
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CLONED __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONED
#endif

namespace introspect {

namespace {

constexpr int64_t kRowsPerThread = 64;
constexpr int64_t kLanes = 16;

struct Scored {
  float score;
  int32_t latent;
  // so that the front of a heap is the one to give up first
  bool operator<(const Scored& other) const {
    return score != other.score ? score > other.score : latent < other.latent;
  }
};

// Whether any of 16 scores is above `limit`: a row is searched in steps of 16, since few are.
[[gnu::always_inline]] inline bool any_above(const float* scores, float limit) {
  int32_t above = 0;
  for (int64_t i = 0; i < kLanes; ++i) above |= scores[i] > limit;
  return above != 0;
}

CLONED void largest_of_row(const float* scores, int64_t latents, int64_t count, std::vector<Scored>& heap) {
  heap.clear();
  float limit = 0;
  for (int64_t first = 0; first < latents; first += kLanes) {
    const int64_t end = std::min(first + kLanes, latents);
    if (end == first + kLanes && !any_above(scores + first, limit)) continue;
    for (int64_t j = first; j < end; ++j) {
      if (!(scores[j] > limit)) continue;
      if (static_cast<int64_t>(heap.size()) == count) {
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
      }
      heap.push_back({scores[j], static_cast<int32_t>(j)});
      std::push_heap(heap.begin(), heap.end());
      if (static_cast<int64_t>(heap.size()) == count) limit = heap.front().score;
    }
  }
}

CLONED void dot_range(const SparseRows& rows, const float* a, const float* b, int64_t width, float* values,
                      int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    const float* x = a + n * width;
    for (int64_t e = rows.start[n]; e < rows.start[n + 1]; ++e) {
      const float* y = b + rows.latent[e] * width;
      float lanes[kLanes] = {};
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane] * y[i + lane];
      }
      float sum = 0;
      for (; i < width; ++i) sum += x[i] * y[i];
      for (float lane : lanes) sum += lane;
      values[e] = sum;
    }
  }
}

CLONED void add_scaled(float* target, const float* source, float factor, int64_t width) {
  for (int64_t i = 0; i < width; ++i) target[i] += factor * source[i];
}

}  // namespace

void append_largest(SparseRows& rows, const at::Tensor& scores, int64_t count) {
  const at::Tensor s = scores.contiguous();
  const int64_t latents = s.size(1);
  std::vector<std::vector<Scored>> found(s.size(0));
  at::parallel_for(0, s.size(0), kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      found[n].reserve(count + 1);
      largest_of_row(s.data_ptr<float>() + n * latents, latents, count, found[n]);
    }
  });
  for (const std::vector<Scored>& row : found) {
    const size_t first = rows.latent.size();
    for (const Scored& each : row) rows.latent.push_back(each.latent);
    std::sort(rows.latent.begin() + static_cast<int64_t>(first), rows.latent.end());
    rows.start.push_back(rows.entries());
  }
}

void append_above(SparseRows& rows, const at::Tensor& scores, const at::Tensor& limit) {
  const at::Tensor s = scores.contiguous();
  const int64_t latents = s.size(1);
  const float* limits = limit.data_ptr<float>();
  for (int64_t n = 0; n < s.size(0); ++n) {
    const float* row = s.data_ptr<float>() + n * latents;
    for (int64_t j = 0; j < latents; ++j) {
      if (row[j] > limits[j]) rows.latent.push_back(static_cast<int32_t>(j));
    }
    rows.start.push_back(rows.entries());
  }
}

std::vector<float> dot_entries(const SparseRows& rows, const at::Tensor& a, const at::Tensor& b) {
  std::vector<float> values(rows.latent.size());
  at::parallel_for(0, rows.rows(), kRowsPerThread, [&](int64_t begin, int64_t end) {
    dot_range(rows, a.data_ptr<float>(), b.data_ptr<float>(), b.size(1), values.data(), begin, end);
  });
  return values;
}

at::Tensor sum_of_latents(const SparseRows& rows, const std::vector<float>& values, const at::Tensor& b) {
  const int64_t width = b.size(1);
  at::Tensor result = at::zeros({rows.rows(), width}, at::kFloat);
  at::parallel_for(0, rows.rows(), kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* target = result.data_ptr<float>() + n * width;
      for (int64_t e = rows.start[n]; e < rows.start[n + 1]; ++e) {
        if (values[e] != 0) add_scaled(target, b.data_ptr<float>() + rows.latent[e] * width, values[e], width);
      }
    }
  });
  return result;
}

void add_outer(const SparseRows& rows, const std::vector<float>& values, const at::Tensor& a, at::Tensor& gradient) {
  const int64_t latents = gradient.size(0), width = gradient.size(1);
  // the entries by latent, so that threads write to rows of their own
  std::vector<int64_t> start(latents + 1, 0);
  for (int32_t latent : rows.latent) ++start[latent + 1];
  for (int64_t j = 0; j < latents; ++j) start[j + 1] += start[j];
  std::vector<int64_t> next(start.begin(), start.end() - 1), entry(rows.latent.size());
  std::vector<int32_t> row(rows.latent.size());
  for (int64_t n = 0; n < rows.rows(); ++n) {
    for (int64_t e = rows.start[n]; e < rows.start[n + 1]; ++e) {
      const int64_t place = next[rows.latent[e]]++;
      entry[place] = e;
      row[place] = static_cast<int32_t>(n);
    }
  }
  at::parallel_for(0, latents, kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      float* target = gradient.data_ptr<float>() + j * width;
      for (int64_t place = start[j]; place < start[j + 1]; ++place) {
        const float value = values[entry[place]];
        if (value != 0) add_scaled(target, a.data_ptr<float>() + row[place] * width, value, width);
      }
    }
  });
}

void add_values(const SparseRows& rows, const std::vector<float>& values, at::Tensor& sums) {
  float* sum = sums.data_ptr<float>();
  for (int64_t e = 0; e < rows.entries(); ++e) sum[rows.latent[e]] += values[e];
}

}  // namespace introspect
