#include "model/recurrence.h"

#include "model/forward.h"

#include <algorithm>
#include <numeric>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

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

}  // namespace

States select_rows(const States& states, const at::Tensor& rows) {
  const auto selected = [&](const at::Tensor& x) { return x.defined() ? x.index_select(0, rows) : x; };
  States result;
  for (const LayerState& state : states) {
    result.push_back({selected(state.memory), selected(state.inputs), selected(state.mlp_inputs)});
  }
  return result;
}

at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

Lagged::Lagged(const std::vector<int64_t>& starts, const at::Tensor& x, const at::Tensor& kept, int64_t depth)
    : starts_(starts), depth_(depth) {
  const int64_t rows = (std::ssize(starts) - 1) * depth;
  const at::Tensor front =
      kept.defined() ? kept.to(x.scalar_type()).reshape({rows, x.size(1)}) : at::zeros({rows, x.size(1)}, x.options());
  joined_ = at::cat({front, x});
}

at::Tensor Lagged::at(int64_t lag) const {
  const int64_t sequences = std::ssize(starts_) - 1;
  std::vector<int64_t> rows;
  rows.reserve(starts_.back());
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = starts_[s]; i < starts_[s + 1]; ++i) {
      const int64_t before = i - lag;
      rows.push_back(before >= starts_[s] ? sequences * depth_ + before : (s + 1) * depth_ + before - starts_[s]);
    }
  }
  return joined_.index_select(0, on_device(rows, joined_.device()));
}

at::Tensor Lagged::last() const {
  const int64_t sequences = std::ssize(starts_) - 1;
  std::vector<int64_t> rows;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = starts_[s + 1] - depth_; i < starts_[s + 1]; ++i) {
      rows.push_back(i >= starts_[s] ? sequences * depth_ + i : (s + 1) * depth_ + i - starts_[s]);
    }
  }
  return joined_.index_select(0, on_device(rows, joined_.device())).view({sequences, depth_, joined_.size(1)});
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

at::Tensor TimeOrder::run(at::Tensor& memory, const Step& step) const {
  at::Tensor going = memory.index_select(0, longest_first_);
  std::vector<at::Tensor> outputs, ended;  // the shortest sequences, which are last, end first
  int64_t first = 0;
  for (const int64_t count : alive_) {
    if (count < going.size(0)) {
      ended.push_back(going.slice(0, count));
      going = going.slice(0, 0, count);
    }
    auto [behind, output] = step(first, count, going);
    going = std::move(behind);
    outputs.push_back(std::move(output));
    first += count;
  }
  ended.push_back(going);
  std::reverse(ended.begin(), ended.end());
  memory = at::cat(ended).index_select(0, at_);
  return at::cat(outputs).index_select(0, back_);
}

}  // namespace introspect
