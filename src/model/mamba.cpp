#include "model/mamba.h"

#include "model/linear.h"
#include "model/recurrence.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

namespace {

// Each channel's weighted sum of its last C inputs, the present one included.
at::Tensor convolved(const Mamba& mamba, const at::Tensor& x_NI, const std::vector<int64_t>& starts,
                     LayerState& state) {
  const at::Tensor weight = mamba.convolution.squeeze(1);  // [I, C], the present input's weight last
  const int64_t depth = weight.size(1) - 1;
  const Lagged before(starts, x_NI, state.inputs, depth);
  at::Tensor y = x_NI * weight.select(1, depth);
  for (int64_t lag = 1; lag <= depth; ++lag) y = y + before.at(lag) * weight.select(1, depth - lag);
  state.inputs = before.last();
  return mamba.convolution_bias.defined() ? y + mamba.convolution_bias : y;
}

}  // namespace

at::Tensor mamba_mixer(const ModelConfig& config, const Mamba& mamba, const at::Tensor& x,
                       const std::vector<int64_t>& starts, LayerState& state, const ForwardOptions& options) {
  const Recurrence& sizes = config.recurrence;
  const std::vector<at::Tensor> parts = apply_linear(mamba.in, x, options).chunk(2, 1);  // [N, I] each
  const at::Tensor channels = activated(config.activation, convolved(mamba, parts[0], starts, state));
  const std::vector<at::Tensor> selected =
      apply_linear(mamba.select, channels, options).split_with_sizes({sizes.step_rank, sizes.state, sizes.state}, 1);
  const at::Tensor u = widened(channels);
  const at::Tensor step = at::softplus(widened(apply_linear(mamba.step, selected[0], options)));  // [N, I]
  const at::Tensor decay = -widened(mamba.log_decay).exp();                                       // [I, S]

  // memory = exp(step decay) memory + step u B, output = memory C; each channel for itself
  at::Tensor memory = state.memory;
  if (!memory.defined()) memory = at::zeros({std::ssize(starts) - 1, sizes.inner, sizes.state}, u.options());
  using Tensors = TimeOrder::Tensors;
  const Tensors inputs{step.unsqueeze(2), (step * u).unsqueeze(2), widened(selected[1]).unsqueeze(1),
                       widened(selected[2]).unsqueeze(2)};
  const auto take_step = [](const Tensors& rows, const Tensors& shared, const at::Tensor& before) {
    const at::Tensor &dt = rows[0], &written = rows[1], &b = rows[2], &c = rows[3];
    at::Tensor behind = (dt * shared[0]).exp() * before + written * b;  // [count, I, S]
    return std::pair(behind, at::matmul(behind, c).squeeze(2));
  };
  const at::Tensor read = TimeOrder(starts, x.device()).run(memory, inputs, {decay}, take_step);  // [N, I]
  state.memory = memory;

  const at::Tensor y = (read + u * widened(mamba.skip)).to(x.scalar_type());
  return apply_linear(mamba.out, y * activated(config.activation, parts[1]), options);
}

}  // namespace introspect
