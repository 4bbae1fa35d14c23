// Sparse activations of a batch and the products of training with them: a position has a few dozen active latents of
// thousands, so everything behind the encoder's product costs next to nothing. Float32 on the processor.
// Shapes: N positions, L latents, D d_model, E entries of all rows together.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// The active latents of each position, ascending in a row.
struct SparseRows {
  std::vector<int64_t> start{0};  // [N + 1]
  std::vector<int32_t> latent;    // [E]

  int64_t rows() const { return static_cast<int64_t>(start.size()) - 1; }
  int64_t entries() const { return static_cast<int64_t>(latent.size()); }
};

// Appends rows: of each row of `scores` [N, L] the `count` largest that are above 0; of equals the lower latent.
void append_largest(SparseRows& rows, const at::Tensor& scores, int64_t count);
// Appends rows: the latents with a score above limit [L].
void append_above(SparseRows& rows, const at::Tensor& scores, const at::Tensor& limit);

// values [E]: a [N, D] row of the entry times b [L, D] latent of the entry.
std::vector<float> dot_entries(const SparseRows& rows, const at::Tensor& a, const at::Tensor& b);
// [N, D]: in each row the sum of value times b [L, D].
at::Tensor sum_of_latents(const SparseRows& rows, const std::vector<float>& values, const at::Tensor& b);
// gradient [L, D] += in each latent's row the sum of value times a [N, D]. The order of the sum is that of the
// positions, whatever the number of threads.
void add_outer(const SparseRows& rows, const std::vector<float>& values, const at::Tensor& a, at::Tensor& gradient);
// sums [L] += the values of each latent.
void add_values(const SparseRows& rows, const std::vector<float>& values, at::Tensor& sums);

}  // namespace introspect
