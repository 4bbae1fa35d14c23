#include "model/mamba.h"

#include "model/linear.h"
#include "model/recurrence.h"
#include "model/scan.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

at::Tensor mamba_mixer(const ModelConfig& config, const Mamba& mamba, const at::Tensor& x,
                       const std::vector<int64_t>& starts, LayerState& state, const ForwardOptions& options) {
  const Recurrence& sizes = config.recurrence;
  const std::vector<at::Tensor> parts = apply_linear(mamba.in, x, options).chunk(2, 1);  // [N, I] each
  const at::Tensor convolved =
      short_convolution(starts, parts[0], state.inputs, mamba.convolution.squeeze(1), mamba.convolution_bias);
  state.inputs = Lagged(starts, parts[0], state.inputs, sizes.convolution - 1).last();
  const at::Tensor channels = activated(config.activation, convolved);
  const std::vector<at::Tensor> selected =
      apply_linear(mamba.select, channels, options).split_with_sizes({sizes.step_rank, sizes.state, sizes.state}, 1);
  const at::Tensor u = widened(channels);
  const at::Tensor step = at::softplus(widened(apply_linear(mamba.step, selected[0], options)));  // [N, I]
  const at::Tensor decay = -widened(mamba.log_decay).exp();                                       // [I, S]

  at::Tensor memory = state.memory;
  if (!memory.defined()) memory = at::zeros({std::ssize(starts) - 1, sizes.inner, sizes.state}, u.options());
  const at::Tensor read =
      selective_scan(starts, step, u, widened(selected[1]), widened(selected[2]), decay, memory);  // [N, I]
  state.memory = memory;

  const at::Tensor y = (read + u * widened(mamba.skip)).to(x.scalar_type());
  return apply_linear(mamba.out, y * activated(config.activation, parts[1]), options);
}

}  // namespace introspect
