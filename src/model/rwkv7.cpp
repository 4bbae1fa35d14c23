#include "model/rwkv7.h"

#include "model/linear.h"
#include "model/recurrence.h"
#include "model/scan.h"

#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

at::Tensor rwkv7_time_mixing(const ModelConfig& config, const Block& block, const at::Tensor& x,
                             const std::vector<int64_t>& starts, LayerState& state, at::Tensor& first_values,
                             const ForwardOptions& options) {
  const Rwkv7& own = block.rwkv7;
  const int64_t N = x.size(0), H = config.heads, E = config.head_dim;
  const Lagged before(starts, x, state.inputs, 1);
  const at::Tensor towards = before.at(1) - x;
  state.inputs = before.last();
  const auto mixed = [&](const at::Tensor& mix) { return at::addcmul(x, towards, mix.view({-1})); };
  const auto linear = [&](const Linear& layer, const at::Tensor& in) { return apply_linear(layer, in, options); };
  const auto heads = [&](const at::Tensor& y) { return widened(y).view({N, H, E}); };

  const at::Tensor query = linear(block.query, mixed(own.mix_query));
  const at::Tensor decay_in = at::tanh(linear(own.decay.down, mixed(own.mix_decay)));
  const at::Tensor decay = at::exp(-std::exp(-0.5) * at::sigmoid(widened(linear(own.decay.up, decay_in))));
  const at::Tensor raw_key = linear(block.key, mixed(own.mix_key));
  const at::Tensor value_in = mixed(own.mix_value);
  at::Tensor value = linear(block.value, value_in);
  const at::Tensor rate = at::sigmoid(linear(own.rate.up, linear(own.rate.down, mixed(own.mix_rate))));
  const at::Tensor gate = linear(own.gate.up, at::sigmoid(linear(own.gate.down, mixed(own.mix_gate))));
  if (!first_values.defined()) {
    first_values = value;
  } else {
    value = value + (first_values - value) * at::sigmoid(linear(own.value.up, linear(own.value.down, value_in)));
  }

  // what is taken away lies under the removal key, of length one; what is written lies under the key
  at::Tensor removal = heads(raw_key * own.removal_key);
  removal = removal / removal.norm(2, -1, true).clamp_min(1e-12);
  const at::Tensor key = heads(raw_key * (1 + (rate - 1) * own.key_rate));
  const at::Tensor r = heads(query), v = heads(value);

  at::Tensor memory = state.memory;
  if (!memory.defined()) memory = at::zeros({std::ssize(starts) - 1, H, E, E}, r.options());
  at::Tensor y = delta_scan(starts, {heads(decay), removal, heads(rate) * removal, key, v, r}, memory);
  state.memory = memory;

  y = at::layer_norm(y, E, {}, {}, static_cast<double>(E) * config.norm_epsilon).view({N, H * E});
  y = y * own.out_norm;
  if (own.out_norm_bias.defined()) y = y + own.out_norm_bias;
  y = y + ((r * key * own.bonus).sum(-1, true) * v).view({N, H * E});
  return linear(block.output, y.to(x.scalar_type()) * gate);
}

at::Tensor rwkv7_mlp_input(const Block& block, const at::Tensor& x, const std::vector<int64_t>& starts,
                           LayerState& state) {
  const Lagged before(starts, x, state.mlp_inputs, 1);
  state.mlp_inputs = before.last();
  return x + (before.at(1) - x) * block.rwkv7.mlp_mix;
}

}  // namespace introspect
