#include "model/recurrence.h"

#include <algorithm>
#include <numeric>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace introspect {

namespace {

at::Tensor on_device(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

std::vector<int64_t> inverse(const std::vector<int64_t>& order) {
  std::vector<int64_t> back(order.size());
  for (size_t i = 0; i < order.size(); ++i) back[order[i]] = static_cast<int64_t>(i);
  return back;
}

// Steps `alive` over inputs of just those steps. Returns the memory behind each sequence's last one, and the outputs.
std::pair<at::Tensor, at::Tensor> walk(const std::vector<int64_t>& alive, const TimeOrder::Tensors& inputs,
                                       const TimeOrder::Tensors& shared, at::Tensor memory,
                                       const TimeOrder::Step& step) {
  std::vector<at::Tensor> outputs, ended;  // the shortest sequences, which are last, end first
  int64_t first = 0;
  for (const int64_t count : alive) {
    if (count < memory.size(0)) {
      ended.push_back(memory.slice(0, count));
      memory = memory.slice(0, 0, count);
    }
    TimeOrder::Tensors rows;
    for (const at::Tensor& input : inputs) rows.push_back(input.narrow(0, first, count));
    auto [behind, output] = step(rows, shared, memory);
    memory = std::move(behind);
    outputs.push_back(std::move(output));
    first += count;
  }
  ended.push_back(memory);
  std::reverse(ended.begin(), ended.end());
  return {at::cat(ended), at::cat(outputs)};
}

// `walk` that keeps only what it is given, and walks again for the gradients.
struct WalkHolder : torch::CustomClassHolder {
  std::vector<int64_t> alive;
  TimeOrder::Step step;
  size_t inputs = 0;
};
struct Walk : torch::autograd::Function<Walk> {
  // given: inputs, shared tensors, memory
  static std::pair<at::Tensor, at::Tensor> again(const WalkHolder& holder, const std::vector<at::Tensor>& given) {
    const auto middle = given.begin() + static_cast<std::ptrdiff_t>(holder.inputs);
    return walk(holder.alive, {given.begin(), middle}, {middle, given.end() - 1}, given.back(), holder.step);
  }
  static std::vector<at::Tensor> forward(torch::autograd::AutogradContext* context, at::TensorList given,
                                         const c10::intrusive_ptr<WalkHolder>& holder) {
    context->save_for_backward(given.vec());
    context->saved_data["holder"] = c10::IValue::make_capsule(holder);
    auto [memory, outputs] = again(*holder, given.vec());
    return {memory, outputs};
  }
  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          std::vector<at::Tensor> gradients) {
    const auto holder = c10::static_intrusive_pointer_cast<WalkHolder>(context->saved_data["holder"].toCapsule());
    std::vector<at::Tensor> given, wanted;
    for (const at::Tensor& saved : context->get_saved_variables()) {
      given.push_back(saved.detach().requires_grad_(saved.requires_grad()));
      if (saved.requires_grad()) wanted.push_back(given.back());
    }
    std::vector<at::Tensor> found;
    {
      at::AutoGradMode enabled(true);
      const auto [memory, outputs] = again(*holder, given);
      found = torch::autograd::grad({memory, outputs}, wanted, gradients, /*retain_graph=*/false,
                                    /*create_graph=*/false, /*allow_unused=*/true);
    }
    std::vector<at::Tensor> result;
    size_t next = 0;
    for (const at::Tensor& each : given) result.push_back(each.requires_grad() ? found[next++] : at::Tensor());
    result.emplace_back();  // the holder
    return result;
  }
};

constexpr size_t steps_per_walk = 32;

}  // namespace

States select_rows(const States& states, const at::Tensor& rows) {
  const auto selected = [&](const at::Tensor& x) { return x.defined() ? x.index_select(0, rows.to(x.device())) : x; };
  States result;
  for (const LayerState& state : states) {
    result.push_back({selected(state.memory), selected(state.inputs), selected(state.mlp_inputs)});
  }
  return result;
}

States first_states(const Model& model, int64_t sequences) {
  const ModelConfig& c = model.config;
  States states;
  for (const Block& block : model.blocks) {
    const at::TensorOptions stream = model.embedding.options().device(block.attention_norm.device());
    const at::TensorOptions wide = stream.dtype(widened(model.embedding.slice(0, 0, 1)).dtype());
    LayerState& state = states.emplace_back();
    if (c.mixer == Mixer::mamba) {
      state.memory = at::zeros({sequences, c.recurrence.inner, c.recurrence.state}, wide);
      state.inputs = at::zeros({sequences, c.recurrence.convolution - 1, c.recurrence.inner}, stream);
    } else {
      state.memory = at::zeros({sequences, c.heads, c.head_dim, c.head_dim}, wide);
      state.inputs = at::zeros({sequences, 1, c.d_model}, stream);
      state.mlp_inputs = at::zeros({sequences, 1, c.d_model}, stream);
    }
  }
  return states;
}

at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

Lagged::Lagged(const std::vector<int64_t>& starts, const at::Tensor& x, const at::Tensor& kept, int64_t depth)
    : starts_(starts), depth_(depth), x_(x) {
  const int64_t sequences = std::ssize(starts) - 1;
  kept_ = kept.defined() ? kept.to(x.scalar_type()) : at::zeros({sequences, depth, x.size(1)}, x.options());
}

// All rows shifted as one, then the first ones of each sequence put right: gathering every row for itself is slow to go
// back through.
at::Tensor Lagged::at(int64_t lag) const {
  const int64_t sequences = std::ssize(starts_) - 1, shift = std::min(lag, x_.size(0));
  std::vector<int64_t> rows, from;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = 0; i < std::min(lag, starts_[s + 1] - starts_[s]); ++i) {
      rows.push_back(starts_[s] + i);
      from.push_back(s * depth_ + depth_ - lag + i);
    }
  }
  const at::Tensor first =
      kept_.reshape({sequences * depth_, x_.size(1)}).index_select(0, on_device(from, x_.device()));
  at::Tensor shifted = at::cat({x_.slice(0, 0, shift), x_.slice(0, 0, x_.size(0) - shift)});
  return shifted.index_copy_(0, on_device(rows, x_.device()), first);
}

at::Tensor Lagged::last() const {
  const int64_t sequences = std::ssize(starts_) - 1;
  std::vector<int64_t> rows, tails;  // of kept rows, then those of x that a sequence ends with
  int64_t behind_kept = sequences * depth_;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t own = std::min(depth_, starts_[s + 1] - starts_[s]);
    for (int64_t i = own; i < depth_; ++i) rows.push_back(s * depth_ + i);
    for (int64_t i = starts_[s + 1] - own; i < starts_[s + 1]; ++i) {
      rows.push_back(behind_kept++);
      tails.push_back(i);
    }
  }
  const at::Tensor joined =
      at::cat({kept_.reshape({sequences * depth_, x_.size(1)}), x_.index_select(0, on_device(tails, x_.device()))});
  return joined.index_select(0, on_device(rows, x_.device())).view({sequences, depth_, x_.size(1)});
}

TimeOrder::TimeOrder(const std::vector<int64_t>& starts, at::Device device) {
  const int64_t sequences = std::ssize(starts) - 1;
  const auto length = [&](int64_t s) { return starts[s + 1] - starts[s]; };
  std::vector<int64_t> order(sequences), rows;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  rows.reserve(starts.back());
  int64_t going = sequences;
  for (int64_t t = 0;; ++t) {
    while (going > 0 && length(order[going - 1]) <= t) --going;
    if (going == 0) break;
    alive_.push_back(going);
    for (int64_t i = 0; i < going; ++i) rows.push_back(starts[order[i]] + t);
  }
  rows_ = on_device(rows, device);
  back_ = on_device(inverse(rows), device);
  longest_first_ = on_device(order, device);
  at_ = on_device(inverse(order), device);
}

at::Tensor TimeOrder::run(at::Tensor& memory, Tensors inputs, const Tensors& shared, const Step& step) const {
  for (at::Tensor& input : inputs) input = input.index_select(0, rows_);
  at::Tensor going = memory.index_select(0, longest_first_);
  std::vector<at::Tensor> outputs, ended;
  int64_t first = 0;
  for (size_t begin = 0; begin < alive_.size(); begin += steps_per_walk) {
    const size_t end = std::min(begin + steps_per_walk, alive_.size());
    auto holder = c10::make_intrusive<WalkHolder>();
    holder->alive.assign(alive_.begin() + static_cast<std::ptrdiff_t>(begin),
                         alive_.begin() + static_cast<std::ptrdiff_t>(end));
    holder->step = step;
    holder->inputs = inputs.size();
    const int64_t count = holder->alive.front();
    const int64_t rows = std::accumulate(holder->alive.begin(), holder->alive.end(), int64_t{0});
    if (count < going.size(0)) {
      ended.push_back(going.slice(0, count));
      going = going.slice(0, 0, count);
    }
    Tensors given;
    for (const at::Tensor& input : inputs) given.push_back(input.narrow(0, first, rows));
    given.insert(given.end(), shared.begin(), shared.end());
    given.push_back(going);
    const std::vector<at::Tensor> made = Walk::apply(at::TensorList(given), holder);
    going = made[0];
    outputs.push_back(made[1]);
    first += rows;
  }
  ended.push_back(going);
  std::reverse(ended.begin(), ended.end());
  memory = at::cat(ended).index_select(0, at_);
  return at::cat(outputs).index_select(0, back_);
}

}  // namespace introspect
