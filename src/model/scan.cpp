#include "model/scan.h"

#include "model/recurrence.h"
#include "model/scan_cpu.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

namespace introspect {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Starts = std::vector<int64_t>;

bool has_loops(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}
bool needs_gradient(std::initializer_list<at::Tensor> tensors) {
  return at::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const at::Tensor& x) { return x.requires_grad(); });
}
template <class Work>
void in_type(const at::Tensor& x, const Work& work) {
  if (x.scalar_type() == at::kDouble) {
    work(double{});
  } else {
    work(float{});
  }
}
// The rows of a packed tensor from `row` on, or null.
template <class Number>
Number* rows_at(const at::Tensor& x, int64_t row) {
  return x.defined() ? x.data_ptr<Number>() + row * x.stride(0) : nullptr;
}

// Sequences in `parts` stretches of about as many positions: the first of each, and their number.
Starts stretches(const Starts& starts, int64_t parts) {
  Starts first{0};
  for (int64_t part = 1; part < parts; ++part) {
    const int64_t position = starts.back() * part / parts;
    first.push_back(std::lower_bound(starts.begin(), starts.end() - 1, position) - starts.begin());
  }
  first.push_back(std::ssize(starts) - 1);
  return first;
}
int64_t part_count(const Starts& starts) {
  return std::min<int64_t>(at::get_num_threads(), std::ssize(starts) - 1);
}

struct ShortConvolution : Function<ShortConvolution> {
  template <class Number>
  static kernel::Convolution<Number> of(const Starts& starts, int64_t s, const at::Tensor& x, const at::Tensor& kept,
                                        const at::Tensor& weight, const at::Tensor& bias) {
    return {starts[s + 1] - starts[s],
            weight.size(1),
            weight.size(0),
            rows_at<Number>(x, starts[s]),
            x.stride(0),
            rows_at<Number>(kept, s),
            weight.data_ptr<Number>(),
            bias.data_ptr<Number>(),
            nullptr};
  }
  // weight [lags, I], the present input's first; kept in a list, in which it may be undefined
  static at::Tensor forward(AutogradContext* context, const Starts& starts, const at::Tensor& given,
                            const variable_list& before, const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor kept = before[0];
    const at::Tensor x = given.stride(1) == 1 ? given : given.contiguous();
    at::Tensor y = at::empty({x.size(0), x.size(1)}, x.options());
    in_type(x, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, std::ssize(starts) - 1, 1, [&](int64_t first, int64_t last) {
        for (int64_t s = first; s < last; ++s) {
          auto work = of<Number>(starts, s, x, kept, weight, bias);
          work.output = rows_at<Number>(y, starts[s]);
          kernel::convolve(work);
        }
      });
    });
    context->save_for_backward({x, kept, weight, bias});
    context->saved_data["starts"] = starts;
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &kept = saved[1], &weight = saved[2], &bias = saved[3];
    const at::Tensor dy = gradients[0].contiguous();
    const Starts starts = context->saved_data["starts"].toIntVector();
    const int64_t parts = part_count(starts);
    const Starts first = stretches(starts, parts);
    at::Tensor dx = at::empty_like(dy), dw = at::zeros({parts, weight.size(0), weight.size(1)}, weight.options());
    at::Tensor db = at::zeros({parts, bias.size(0)}, bias.options());
    in_type(dy, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; ++part) {
          for (int64_t s = first[part]; s < first[part + 1]; ++s) {
            kernel::convolve_backward(kernel::ConvolutionGradient<Number>{
                of<Number>(starts, s, x, kept, weight, bias), rows_at<Number>(dy, starts[s]),
                rows_at<Number>(dx, starts[s]), rows_at<Number>(dw, part), rows_at<Number>(db, part)});
          }
        }
      });
    });
    return {at::Tensor(), dx, at::Tensor(), dw.sum(0), db.sum(0)};
  }
};

// Where the kept memories of each sequence begin, in chunks.
Starts chunk_starts(const Starts& starts) {
  Starts first{0};
  for (size_t s = 1; s < starts.size(); ++s) {
    first.push_back(first.back() + kernel::scan_chunks(starts[s] - starts[s - 1]));
  }
  return first;
}

struct SelectiveScan : Function<SelectiveScan> {
  // Channels in groups, where sequences alone are too few for the threads.
  static int64_t group_count(const Starts& starts, int64_t channels) {
    const int64_t blocks = kernel::scan_padded(channels) / kernel::scan_lanes, threads = at::get_num_threads();
    const int64_t sequences = std::ssize(starts) - 1;
    return std::clamp<int64_t>((threads + sequences - 1) / sequences, 1, blocks);
  }
  static int64_t group_begin(int64_t channels, int64_t group, int64_t groups) {
    const int64_t blocks = kernel::scan_padded(channels) / kernel::scan_lanes;
    return std::min(channels, blocks * group / groups * kernel::scan_lanes);
  }
  template <class Number>
  static kernel::SelectiveScan<Number> of(const Starts& starts, int64_t s, int64_t group, int64_t groups,
                                          const variable_list& inputs, const at::Tensor& kept, int64_t chunk) {
    const int64_t channels = inputs[0].size(1), states = inputs[2].size(1);
    return {starts[s + 1] - starts[s],
            channels,
            states,
            group_begin(channels, group, groups),
            group_begin(channels, group + 1, groups),
            rows_at<Number>(inputs[0], starts[s]),
            rows_at<Number>(inputs[1], starts[s]),
            rows_at<Number>(inputs[2], starts[s]),
            rows_at<Number>(inputs[3], starts[s]),
            inputs[4].data_ptr<Number>(),
            nullptr,
            nullptr,
            rows_at<Number>(kept, chunk)};
  }
  static variable_list forward(AutogradContext* context, const Starts& starts, const at::Tensor& step,
                               const at::Tensor& u, const at::Tensor& written, const at::Tensor& read,
                               const at::Tensor& decay, const at::Tensor& before, bool keep) {
    const variable_list inputs{step.contiguous(), u.contiguous(), written.contiguous(), read.contiguous(),
                               decay.contiguous()};
    const int64_t sequences = std::ssize(starts) - 1, channels = u.size(1), states = written.size(1);
    const int64_t groups = group_count(starts, channels);
    const Starts chunks = chunk_starts(starts);
    at::Tensor y = at::empty({u.size(0), channels}, u.options());
    at::Tensor memory = before.clone(at::MemoryFormat::Contiguous), kept;
    if (keep) kept = at::empty({chunks.back(), states * kernel::scan_padded(channels)}, u.options());
    in_type(u, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, sequences * groups, 1, [&](int64_t first, int64_t last) {
        for (int64_t task = first; task < last; ++task) {
          const int64_t s = task / groups;
          auto work = of<Number>(starts, s, task % groups, groups, inputs, kept, chunks[s]);
          work.memory = rows_at<Number>(memory, s);
          work.output = rows_at<Number>(y, starts[s]);
          kernel::selective_scan(work);
        }
      });
    });
    if (keep) {
      variable_list saved = inputs;
      saved.push_back(kept);
      context->save_for_backward(saved);
      context->saved_data["starts"] = starts;
    }
    return {y, memory};
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &u = inputs[1], &kept = inputs[5], dy = gradients[0].contiguous();
    const Starts starts = context->saved_data["starts"].toIntVector();
    const int64_t channels = u.size(1), states = inputs[2].size(1);
    const int64_t groups = group_count(starts, channels), parts = part_count(starts);
    const Starts first = stretches(starts, parts), chunks = chunk_starts(starts);
    at::Tensor of_memory = gradients[1].clone(at::MemoryFormat::Contiguous);
    at::Tensor of_step = at::empty_like(u), of_u = at::empty_like(u);
    at::Tensor of_written = at::empty({groups, u.size(0), states}, u.options()), of_read = at::empty_like(of_written);
    at::Tensor of_decay = at::zeros({parts, channels, states}, u.options());
    in_type(u, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, parts * groups, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t part = task / groups, group = task % groups;
          for (int64_t s = first[part]; s < first[part + 1]; ++s) {
            kernel::selective_scan_backward(kernel::SelectiveScanGradient<Number>{
                of<Number>(starts, s, group, groups, inputs, kept, chunks[s]), rows_at<Number>(dy, starts[s]),
                rows_at<Number>(of_memory, s), rows_at<Number>(of_step, starts[s]), rows_at<Number>(of_u, starts[s]),
                rows_at<Number>(of_written[group], starts[s]), rows_at<Number>(of_read[group], starts[s]),
                rows_at<Number>(of_decay, part)});
          }
        }
      });
    });
    return {at::Tensor(), of_step, of_u, of_written.sum(0), of_read.sum(0), of_decay.sum(0), of_memory, at::Tensor()};
  }
};

struct DeltaScan : Function<DeltaScan> {
  template <class Number>
  static kernel::DeltaScan<Number> of(const Starts& starts, int64_t s, int64_t head, const variable_list& inputs,
                                      const at::Tensor& kept, int64_t chunk) {
    const int64_t heads = inputs[0].size(1), width = inputs[0].size(2);
    const auto at = [&](const at::Tensor& x) { return rows_at<Number>(x, starts[s]) + head * width; };
    // a head's chunks lie together
    Number* of_head = nullptr;
    if (kept.defined()) {
      const int64_t mine = kernel::scan_chunks(starts[s + 1] - starts[s]);
      of_head = rows_at<Number>(kept, chunk * heads + head * mine);
    }
    return {starts[s + 1] - starts[s],
            width,
            heads * width,
            at(inputs[0]),
            at(inputs[1]),
            at(inputs[2]),
            at(inputs[3]),
            at(inputs[4]),
            at(inputs[5]),
            nullptr,
            nullptr,
            of_head};
  }
  static variable_list forward(AutogradContext* context, const Starts& starts, const at::Tensor& decay,
                               const at::Tensor& removal, const at::Tensor& rated, const at::Tensor& key,
                               const at::Tensor& value, const at::Tensor& query, const at::Tensor& before, bool keep) {
    variable_list inputs;
    for (const at::Tensor* x : {&decay, &removal, &rated, &key, &value, &query}) inputs.push_back(x->contiguous());
    const int64_t heads = key.size(1), width = key.size(2);
    const Starts chunks = chunk_starts(starts);
    at::Tensor y = at::empty(key.sizes(), key.options());
    at::Tensor memory = before.clone(at::MemoryFormat::Contiguous), kept;
    if (keep) {
      kept = at::empty({chunks.back() * heads, width * kernel::delta_scan_padded(width)}, key.options());
    }
    in_type(key, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, (std::ssize(starts) - 1) * heads, 1, [&](int64_t first, int64_t last) {
        for (int64_t task = first; task < last; ++task) {
          const int64_t s = task / heads, head = task % heads;
          auto work = of<Number>(starts, s, head, inputs, kept, chunks[s]);
          work.memory = rows_at<Number>(memory, s) + head * width * width;
          work.output = rows_at<Number>(y, starts[s]) + head * width;
          kernel::delta_scan(work);
        }
      });
    });
    if (keep) {
      inputs.push_back(kept);
      context->save_for_backward(inputs);
      context->saved_data["starts"] = starts;
    }
    return {y, memory};
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &kept = inputs[6], dy = gradients[0].contiguous();
    const Starts starts = context->saved_data["starts"].toIntVector();
    const int64_t heads = dy.size(1), width = dy.size(2);
    const Starts chunks = chunk_starts(starts);
    at::Tensor of_memory = gradients[1].clone(at::MemoryFormat::Contiguous);
    variable_list made;
    for (int i = 0; i < 6; ++i) made.push_back(at::empty_like(dy));
    in_type(dy, [&](auto number) {
      using Number = decltype(number);
      at::parallel_for(0, (std::ssize(starts) - 1) * heads, 1, [&](int64_t first, int64_t last) {
        for (int64_t task = first; task < last; ++task) {
          const int64_t s = task / heads, head = task % heads;
          const auto at = [&](const at::Tensor& x) { return rows_at<Number>(x, starts[s]) + head * width; };
          kernel::delta_scan_backward(
              kernel::DeltaScanGradient<Number>{of<Number>(starts, s, head, inputs, kept, chunks[s]), at(dy),
                                                rows_at<Number>(of_memory, s) + head * width * width, at(made[0]),
                                                at(made[1]), at(made[2]), at(made[3]), at(made[4]), at(made[5])});
        }
      });
    });
    made.insert(made.begin(), at::Tensor());
    made.push_back(of_memory);
    made.emplace_back();
    return made;
  }
};

}  // namespace

at::Tensor short_convolution(const Starts& starts, const at::Tensor& x, const at::Tensor& kept,
                             const at::Tensor& weight, const at::Tensor& bias) {
  if (has_loops(x) && weight.scalar_type() == x.scalar_type()) {
    const variable_list before{kept.defined() ? kept.to(x.scalar_type()).contiguous() : kept};
    const at::Tensor added = bias.defined() ? bias : at::zeros({x.size(1)}, x.options());
    return ShortConvolution::apply(starts, x, before, weight.t().flip(0).contiguous(), added);
  }
  const int64_t depth = weight.size(1) - 1;
  const Lagged before(starts, x, kept, depth);
  at::Tensor y = x * weight.select(1, depth);
  for (int64_t lag = 1; lag <= depth; ++lag) y = y + before.at(lag) * weight.select(1, depth - lag);
  return bias.defined() ? y + bias : y;
}

at::Tensor selective_scan(const Starts& starts, const at::Tensor& step, const at::Tensor& u, const at::Tensor& written,
                          const at::Tensor& read, const at::Tensor& decay, at::Tensor& memory) {
  if (!has_loops(u)) return selective_scan_plain(starts, step, u, written, read, decay, memory);
  const bool keep = needs_gradient({step, u, written, read, decay, memory});
  const variable_list made = SelectiveScan::apply(starts, step, u, written, read, decay, memory, keep);
  memory = made[1];
  return made[0];
}

at::Tensor selective_scan_plain(const Starts& starts, const at::Tensor& step, const at::Tensor& u,
                                const at::Tensor& written, const at::Tensor& read, const at::Tensor& decay,
                                at::Tensor& memory) {
  using Tensors = TimeOrder::Tensors;
  const Tensors inputs{step.unsqueeze(2), (step * u).unsqueeze(2), written.unsqueeze(1), read.unsqueeze(2)};
  const auto take_step = [](const Tensors& rows, const Tensors& shared, const at::Tensor& before) {
    const at::Tensor &dt = rows[0], &in = rows[1], &b = rows[2], &c = rows[3];
    at::Tensor behind = (dt * shared[0]).exp() * before + in * b;  // [count, I, S]
    return std::pair(behind, at::matmul(behind, c).squeeze(2));
  };
  return TimeOrder(starts, u.device()).run(memory, inputs, {decay}, take_step);
}

at::Tensor delta_scan(const Starts& starts, const DeltaInputs& in, at::Tensor& memory) {
  if (!has_loops(in.key) || in.key.size(2) > kernel::delta_scan_widest) return delta_scan_plain(starts, in, memory);
  const bool keep = needs_gradient({in.decay, in.removal, in.rated, in.key, in.value, in.query, memory});
  const variable_list made =
      DeltaScan::apply(starts, in.decay, in.removal, in.rated, in.key, in.value, in.query, memory, keep);
  memory = made[1];
  return made[0];
}

at::Tensor delta_scan_plain(const Starts& starts, const DeltaInputs& in, at::Tensor& memory) {
  using Tensors = TimeOrder::Tensors;
  const Tensors inputs{in.decay.unsqueeze(2), in.removal.unsqueeze(3), in.rated.unsqueeze(2),
                       in.value.unsqueeze(3), in.key.unsqueeze(2),     in.query.unsqueeze(3)};
  const auto take_step = [](const Tensors& rows, const Tensors&, const at::Tensor& old) {
    const at::Tensor found = at::matmul(old, rows[1]);  // [count, H, E, 1] what lies under the removal key
    at::Tensor behind = old * rows[0] - found * rows[2] + rows[3] * rows[4];
    return std::pair(behind, at::matmul(behind, rows[5]).squeeze(3));
  };
  return TimeOrder(starts, in.key.device()).run(memory, inputs, {}, take_step);
}

}  // namespace introspect
