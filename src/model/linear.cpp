#include "model/linear.h"

#include "model/int8.h"
#include "model/kernels.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

at::Tensor apply_linear(const Linear& linear, const at::Tensor& x, const ForwardOptions& options) {
  const bool mixed = options.compute == at::kBFloat16 && linear.weight.scalar_type() == at::kFloat;
  const auto product = [&](const at::Tensor& in, const at::Tensor& weight) {
    if (!mixed) return at::linear(in, weight.scalar_type() == in.scalar_type() ? weight : weight.to(in.scalar_type()));
    return at::linear(in.to(at::kBFloat16), weight.to(at::kBFloat16));
  };
  const bool gradients = at::GradMode::is_enabled() && (x.requires_grad() || linear.weight.requires_grad());
  at::Tensor y;
  if (linear.scale.defined()) {
    y = int8_product(linear, x);
  } else if (!gradients && x.scalar_type() == linear.weight.scalar_type() && reads_few_rows(linear.weight, x)) {
    y = few_rows_product(linear.weight, {}, x);
  } else {
    y = product(x, linear.weight);
  }
  if (mixed) y = y.to(at::kFloat);
  if (linear.bias.defined()) y = y + linear.bias;
  if (linear.lora) {
    at::Tensor in = x;
    if (options.training && linear.lora->dropout > 0) in = at::dropout(in, linear.lora->dropout, true);
    const at::Tensor update = product(product(in, linear.lora->a), linear.lora->b);
    y = y + linear.lora->scale * update.to(y.scalar_type());
  }
  return y;
}

at::Tensor apply_norm(const ModelConfig& config, const at::Tensor& x, const at::Tensor& weight,
                      const at::Tensor& bias) {
  switch (config.norm) {
    case NormKind::rms:
      break;
    case NormKind::rms_plus_one:  // added in float32: near one, 16 bits would lose most of the weight
      return rms_norm(x, weight.to(at::kFloat) + 1, config.norm_epsilon).to(x.scalar_type());
    case NormKind::layer:
      return at::layer_norm(x, x.size(1), weight, bias, config.norm_epsilon);
  }
  return rms_norm(x, weight, config.norm_epsilon);
}

at::Tensor activated(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::silu:
      break;
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::squared_relu:
      return at::relu(x).square();
  }
  return at::silu(x);
}

at::Tensor apply_mlp(const ModelConfig& config, const Block& block, const at::Tensor& x,
                     const ForwardOptions& options) {
  if (!config.gated_mlp) {
    return apply_linear(block.down, activated(config.activation, apply_linear(block.up, x, options)), options);
  }
  const auto gated = [&](const at::Tensor& gate, const at::Tensor& up) {
    return config.activation == Activation::silu ? gated_silu(gate, up) : activated(config.activation, gate) * up;
  };
  const at::Tensor hidden = gated(apply_linear(block.gate, x, options), apply_linear(block.up, x, options));
  return apply_linear(block.down, hidden, options);
}

}  // namespace introspect
