// What recurrent models do along time, over packed sequences. Each has gradients. Float32 and float64 on the processor
// run the loops of scan_cpu.h, one sequence and head or channel beside the other; every other type and device the same
// formulas step by step in libtorch operations (recurrence.h), which the _plain functions do for any.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Each channel's weighted sum of its last C inputs, the present one included. x [N, I]; weight [I, C], the present
// input's last; bias [I] or undefined; kept [sequences, C - 1, I], the inputs in front of each sequence, or undefined
// for zeros (no gradient flows into it).
at::Tensor short_convolution(const std::vector<int64_t>& starts, const at::Tensor& x, const at::Tensor& kept,
                             const at::Tensor& weight, const at::Tensor& bias);

// Mamba: memory = exp(step decay) memory + step u written, output = memory read, each of I channels for itself. step
// (>= 0) and u [N, I], written and read [N, S], decay (<= 0) [I, S]. memory [sequences, I, S] becomes the one behind
// each sequence; returns [N, I]. With gradients, the memory of every 16th position is kept.
at::Tensor selective_scan(const std::vector<int64_t>& starts, const at::Tensor& step, const at::Tensor& u,
                          const at::Tensor& written, const at::Tensor& read, const at::Tensor& decay,
                          at::Tensor& memory);
at::Tensor selective_scan_plain(const std::vector<int64_t>& starts, const at::Tensor& step, const at::Tensor& u,
                                const at::Tensor& written, const at::Tensor& read, const at::Tensor& decay,
                                at::Tensor& memory);

// RWKV-7: memory = memory (diag(decay) - removal rated') + value key', output = memory query, each head for itself.
// All inputs [N, H, E]; memory [sequences, H, E (values), E (keys)] becomes the one behind each sequence; returns
// [N, H, E]. Memory kept as above. Heads wider than 128 go step by step.
struct DeltaInputs {
  at::Tensor decay, removal, rated, key, value, query;
};
at::Tensor delta_scan(const std::vector<int64_t>& starts, const DeltaInputs& inputs, at::Tensor& memory);
at::Tensor delta_scan_plain(const std::vector<int64_t>& starts, const DeltaInputs& inputs, at::Tensor& memory);

}  // namespace introspect
