// Recurrences over packed sequences: what came before a position, and steps through time.
#pragma once

#include "model/forward.h"

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// The states in front of the first token of a recurrent model's sequences: zeros.
States first_states(const Model& model, int64_t sequences);

// Numbers as recurrences keep them: float64 stays, all else becomes float32.
at::Tensor widened(const at::Tensor& x);

// x [N, W] of packed sequences with the `depth` rows that came before each of them: [sequences, depth, W] as `last` of
// an earlier pass gave them, or undefined for zeros.
class Lagged {
 public:
  Lagged(const std::vector<int64_t>& starts, const at::Tensor& x, const at::Tensor& kept, int64_t depth);
  at::Tensor at(int64_t lag) const;  // [N, W] the row `lag` positions before each; 1 <= lag <= depth
  at::Tensor last() const;           // [sequences, depth, W]

 private:
  const std::vector<int64_t>& starts_;
  int64_t depth_;
  at::Tensor x_, kept_;  // [N, W], [sequences, depth, W]
};

// Packed sequences step by step: step t takes position t of every sequence that is longer than t.
class TimeOrder {
 public:
  // One step, of `count` sequences: their rows of every input [count, ...], the tensors that all steps share, and the
  // memory [count, ...] to the memory behind the step and its output [count, ...].
  using Tensors = std::vector<at::Tensor>;
  using Step = std::function<std::pair<at::Tensor, at::Tensor>(const Tensors& rows, const Tensors& shared,
                                                               const at::Tensor& memory)>;

  TimeOrder(const std::vector<int64_t>& starts, at::Device device);
  // Runs all steps over inputs [N, ...] (packed). memory [sequences, ...] becomes the one behind each sequence; returns
  // the outputs [N, ...], packed. With gradients, the memory is kept once in every 32 steps, and those between are
  // computed again on the way back: all of them would be many times the size of the inputs.
  at::Tensor run(at::Tensor& memory, Tensors inputs, const Tensors& shared, const Step& step) const;

 private:
  std::vector<int64_t> alive_;     // how many sequences take part in each step
  at::Tensor rows_, back_;         // [N] packed row of each row in order of time, and the inverse
  at::Tensor longest_first_, at_;  // [sequences] which sequence is first, ..., and the inverse
};

}  // namespace introspect
