#include "model/kernels.h"

#include "base/error.h"
#include "model/kernels_cpu.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

namespace introspect {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool plain_float(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat;
}
bool needs_gradient(const at::Tensor& x) {
  return at::GradMode::is_enabled() && x.requires_grad();
}

// Enough work for a thread to be worth waking.
constexpr int64_t rows_per_thread = 64;

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& weight,
                            double epsilon) {
    const at::Tensor x = given.contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x), inverse = at::empty({rows}, x.options());
    at::parallel_for(0, rows, rows_per_thread, [&](int64_t begin, int64_t end) {
      kernel::rms_norm_forward(x.data_ptr<float>() + begin * width, weight.data_ptr<float>(),
                               y.data_ptr<float>() + begin * width, inverse.data_ptr<float>() + begin, end - begin,
                               width, static_cast<float>(epsilon));
    });
    context->save_for_backward({x, weight, inverse});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2], dy = gradients[0].contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor dx = at::empty_like(x);
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), rows / rows_per_thread));
    at::Tensor partial = at::zeros({parts, width}, x.options());
    at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
        kernel::rms_norm_backward(x.data_ptr<float>() + begin * width, weight.data_ptr<float>(),
                                  inverse.data_ptr<float>() + begin, dy.data_ptr<float>() + begin * width,
                                  dx.data_ptr<float>() + begin * width, partial.data_ptr<float>() + part * width,
                                  end - begin, width);
      }
    });
    return {dx, partial.sum(0), at::Tensor()};
  }
};

struct Rotate : Function<Rotate> {
  static at::Tensor run(const at::Tensor& given, const at::Tensor& cosine, const at::Tensor& sine, float sign) {
    const at::Tensor x = given.contiguous();
    const int64_t rows = x.size(0), heads = x.size(1), dim = x.size(2);
    at::Tensor y = at::empty_like(x);
    at::parallel_for(0, rows, rows_per_thread, [&](int64_t begin, int64_t end) {
      kernel::rotate(x.data_ptr<float>() + begin * heads * dim, cosine.data_ptr<float>() + begin * dim / 2,
                     sine.data_ptr<float>() + begin * dim / 2, y.data_ptr<float>() + begin * heads * dim, end - begin,
                     heads, dim, sign);
    });
    return y;
  }
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return run(x, cosine, sine, 1);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {run(gradients[0], saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
  }
};

struct GatedSilu : Function<GatedSilu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given_gate, const at::Tensor& given_up) {
    const at::Tensor gate = given_gate.contiguous(), up = given_up.contiguous();
    at::Tensor y = at::empty_like(gate);
    at::parallel_for(0, gate.numel(), 16384, [&](int64_t begin, int64_t end) {
      kernel::gated_silu_forward(gate.data_ptr<float>() + begin, up.data_ptr<float>() + begin,
                                 y.data_ptr<float>() + begin, end - begin);
    });
    context->save_for_backward({gate, up});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], dy = gradients[0].contiguous();
    at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    at::parallel_for(0, gate.numel(), 16384, [&](int64_t begin, int64_t end) {
      kernel::gated_silu_backward(gate.data_ptr<float>() + begin, up.data_ptr<float>() + begin,
                                  dy.data_ptr<float>() + begin, dgate.data_ptr<float>() + begin,
                                  dup.data_ptr<float>() + begin, end - begin);
    });
    return {dgate, dup};
  }
};

// The item of sequence `sequence` and key-value head `head`; all tensors contiguous.
kernel::AttentionItem attention_item(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                     const AttentionShape& shape, int64_t sequence, int64_t head,
                                     const at::Tensor& output, const at::Tensor& log_sums) {
  const int64_t heads = query.size(1), kv_heads = key.size(1), dim = query.size(2), group = heads / kv_heads;
  const int64_t first_query = shape.query_start[sequence], first_key = shape.key_start[sequence];
  kernel::AttentionItem item{};
  item.query = query.data_ptr<float>() + (first_query * heads + head * group) * dim;
  item.key = key.data_ptr<float>() + (first_key * kv_heads + head) * dim;
  item.value = value.data_ptr<float>() + (first_key * kv_heads + head) * dim;
  if (shape.prefix_key.defined()) {
    item.prefix = shape.prefix_length[sequence];
    const int64_t offset = (shape.prefix_begin[sequence] * kv_heads + head) * dim;
    item.prefix_key = shape.prefix_key.data_ptr<float>() + offset;
    item.prefix_value = shape.prefix_value.data_ptr<float>() + offset;
  }
  item.visible = shape.visible.data() + first_query;
  item.queries = shape.query_start[sequence + 1] - first_query;
  item.keys = shape.key_start[sequence + 1] - first_key;
  item.group = group;
  item.head_dim = dim;
  item.query_stride = heads * dim;
  item.key_stride = kv_heads * dim;
  item.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  item.output = output.data_ptr<float>() + (first_query * heads + head * group) * dim;
  item.log_sum = log_sums.data_ptr<float>() + first_query * heads + head * group;
  item.log_sum_stride = heads;
  return item;
}

// Runs `work(sequence, kv_head)` over all of them. The longest sequences first would balance better; packed batches
// hold many, so plain order does.
template <class Work>
void for_each_head(const AttentionShape& shape, int64_t kv_heads, const Work& work) {
  const int64_t items = (static_cast<int64_t>(shape.query_start.size()) - 1) * kv_heads;
  at::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) work(item / kv_heads, item % kv_heads);
  });
}

// The shape crosses to the backward pass in the context's saved data, which takes intrusive pointers.
struct ShapeHolder : torch::CustomClassHolder {
  AttentionShape shape;
};

struct Attention : Function<Attention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given_query, const at::Tensor& given_key,
                            const at::Tensor& given_value, const c10::intrusive_ptr<ShapeHolder>& holder) {
    const at::Tensor query = given_query.contiguous(), key = given_key.contiguous(), value = given_value.contiguous();
    const AttentionShape& shape = holder->shape;
    at::Tensor output = at::empty_like(query);
    at::Tensor log_sums = at::empty({query.size(0), query.size(1)}, query.options());
    for_each_head(shape, key.size(1), [&](int64_t sequence, int64_t head) {
      kernel::attention_forward(attention_item(query, key, value, shape, sequence, head, output, log_sums));
    });
    context->save_for_backward({query, key, value, output, log_sums});
    context->saved_data["shape"] = c10::IValue::make_capsule(holder);
    return output;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2];
    const auto holder = c10::static_intrusive_pointer_cast<ShapeHolder>(context->saved_data["shape"].toCapsule());
    const at::Tensor dout = gradients[0].contiguous();
    at::Tensor dquery = at::empty_like(query), dkey = at::empty_like(key), dvalue = at::empty_like(value);
    const int64_t heads = query.size(1), kv_heads = key.size(1), dim = query.size(2);
    for_each_head(holder->shape, kv_heads, [&](int64_t sequence, int64_t head) {
      kernel::AttentionGradient gradient{};
      gradient.item = attention_item(query, key, value, holder->shape, sequence, head, saved[3], saved[4]);
      const int64_t query_offset = (holder->shape.query_start[sequence] * heads + head * (heads / kv_heads)) * dim;
      const int64_t key_offset = (holder->shape.key_start[sequence] * kv_heads + head) * dim;
      gradient.output_gradient = dout.data_ptr<float>() + query_offset;
      gradient.query_gradient = dquery.data_ptr<float>() + query_offset;
      gradient.key_gradient = dkey.data_ptr<float>() + key_offset;
      gradient.value_gradient = dvalue.data_ptr<float>() + key_offset;
      kernel::attention_backward(gradient);
    });
    return {dquery, dkey, dvalue, at::Tensor()};
  }
};

// What the loops below trust without looking again.
void check_shape(const at::Tensor& query, const at::Tensor& key, const AttentionShape& shape) {
  const size_t sequences = shape.query_start.size() - 1;
  if (shape.key_start.size() != sequences + 1 || shape.query_start.back() != query.size(0) ||
      shape.key_start.back() != key.size(0) || static_cast<int64_t>(shape.visible.size()) != query.size(0)) {
    fail("attention", "the starts of the sequences do not fit the queries and keys");
  }
  if (!shape.prefix_key.defined()) return;
  if (needs_gradient(shape.prefix_key)) fail("attention", "the prefix requires gradients, expected none");
  if (shape.prefix_begin.size() != sequences || shape.prefix_length.size() != sequences) {
    fail("attention", fmt::format("prefix: got {} ranges, expected one for each of {} sequences",
                                  shape.prefix_begin.size(), sequences));
  }
  const int64_t rows = shape.prefix_key.size(0);
  for (size_t s = 0; s < sequences; ++s) {
    const int64_t begin = shape.prefix_begin[s], length = shape.prefix_length[s];
    if (begin < 0 || length < 0 || length > rows || begin > rows - length) {
      fail("attention",
           fmt::format("prefix of sequence {}: rows {} to {}, the cache has {}", s, begin, begin + length, rows));
    }
  }
}

// Whether a window hides anything from anyone.
bool window_matters(const AttentionShape& shape) {
  if (shape.window == 0) return false;
  for (size_t s = 0; s + 1 < shape.query_start.size(); ++s) {
    if (shape.query_start[s + 1] == shape.query_start[s]) continue;
    const int64_t own = *std::max_element(shape.visible.begin() + shape.query_start[s],
                                          shape.visible.begin() + shape.query_start[s + 1]);
    if (own + (shape.prefix_key.defined() ? shape.prefix_length[s] : 0) > shape.window) return true;
  }
  return false;
}

struct CrossEntropy : Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& targets,
                            const at::Tensor& weights) {
    const at::Tensor logits = given.contiguous();
    const int64_t rows = logits.size(0), width = logits.size(1);
    at::Tensor log_sums = at::empty({rows}, logits.options());
    at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
      kernel::log_sum_exp(logits.data_ptr<float>() + begin * width, log_sums.data_ptr<float>() + begin, end - begin,
                          width);
    });
    const float* values = logits.data_ptr<float>();
    double total = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t target = targets.data_ptr<int64_t>()[row];
      total += weights.data_ptr<float>()[row] *
               (log_sums.data_ptr<float>()[row] - static_cast<double>(values[row * width + target]));
    }
    context->save_for_backward({logits, targets, weights, log_sums});
    return at::scalar_tensor(total, logits.options());
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &logits = saved[0], &targets = saved[1];
    const at::Tensor weights = (saved[2] * gradients[0]).contiguous();
    const int64_t width = logits.size(1);
    at::Tensor gradient = logits.detach();  // in place: these are the largest tensors of a step
    at::parallel_for(0, logits.size(0), 8, [&](int64_t begin, int64_t end) {
      kernel::cross_entropy_backward(logits.data_ptr<float>() + begin * width, saved[3].data_ptr<float>() + begin,
                                     targets.data_ptr<int64_t>() + begin, weights.data_ptr<float>() + begin,
                                     gradient.data_ptr<float>() + begin * width, end - begin, width);
    });
    return {gradient, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (plain_float(x) && plain_float(weight)) return RmsNorm::apply(x, weight, epsilon);
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor inverse = at::rsqrt(wide.pow(2).mean(-1, true) + epsilon);
  return (wide * inverse).to(x.scalar_type()) * weight;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  if (plain_float(x)) return Rotate::apply(x, cosine, sine);
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = cosine.to(x.scalar_type()).unsqueeze(1), s = sine.to(x.scalar_type()).unsqueeze(1);
  const at::Tensor a = x.slice(2, 0, half), b = x.slice(2, half);
  return at::cat({a * c - b * s, b * c + a * s}, 2);
}

at::Tensor gated_silu(const at::Tensor& gate, const at::Tensor& up) {
  if (plain_float(gate) && plain_float(up)) return GatedSilu::apply(gate, up);
  return at::silu(gate) * up;
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape) {
  check_shape(query, key, shape);
  const at::ScalarType type = query.scalar_type();
  const bool narrow = type == at::kBFloat16 || type == at::kHalf;
  const bool loops = query.device().is_cpu() && (narrow || type == at::kFloat) && shape.softcap == 0;
  if (!loops || window_matters(shape)) return attention_plain(query, key, value, shape);
  auto holder = c10::make_intrusive<ShapeHolder>();
  holder->shape = shape;
  if (shape.prefix_key.defined()) {
    holder->shape.prefix_key = shape.prefix_key.to(at::kFloat).contiguous();
    holder->shape.prefix_value = shape.prefix_value.to(at::kFloat).contiguous();
  }
  if (!narrow) return Attention::apply(query, key, value, holder);
  // as exact as float32, and faster than libtorch's own products of 16-bit numbers of this size
  return Attention::apply(query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), holder).to(type);
}

at::Tensor weighted_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& weights) {
  if (targets.numel() != logits.size(0) || weights.numel() != logits.size(0)) {
    fail("cross-entropy", fmt::format("got {} targets and {} weights, expected {} of each", targets.numel(),
                                      weights.numel(), logits.size(0)));
  }
  if (targets.numel() > 0) {
    const auto [low, high] = targets.aminmax();
    if (low.item<int64_t>() < 0 || high.item<int64_t>() >= logits.size(1)) {
      fail("cross-entropy", fmt::format("targets from {} to {}, expected ids below {}", low.item<int64_t>(),
                                        high.item<int64_t>(), logits.size(1)));
    }
  }
  if (plain_float(logits)) {
    return CrossEntropy::apply(logits, targets.contiguous(), weights.to(at::kFloat).contiguous());
  }
  const at::Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
  const at::Tensor log_probabilities = at::log_softmax(wide, -1);
  return -(log_probabilities.gather(1, targets.unsqueeze(1)).squeeze(1) * weights).sum();
}

}  // namespace introspect
