#include "train/optimizer.h"

#include "base/distributed.h"
#include "base/error.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// The orthogonal factor of `gradient`, roughly: singular values end between 0.7 and 1.2, which is enough (Jordan 2024,
// coefficients 3.4445, -4.7750, 2.0315). In bfloat16, as published.
at::Tensor orthogonalised(const at::Tensor& gradient) {
  const bool tall = gradient.size(0) > gradient.size(1);
  at::Tensor x = (tall ? gradient.t() : gradient).contiguous();
  x = (x / (x.norm() + 1e-7)).to(at::kBFloat16);
  for (int i = 0; i < 5; ++i) {
    const at::Tensor a = at::mm(x, x.t());
    const at::Tensor b = -4.7750 * a + 2.0315 * at::mm(a, a);
    x = 3.4445 * x + at::mm(b, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.t() : x;
}

}  // namespace

Optimizer::Optimizer(std::vector<Trainable> trainables, const OptimizerSettings& settings)
    : trainables_(std::move(trainables)), settings_(settings) {
  for (const Trainable& each : trainables_) {
    if (each.rule == UpdateRule::muon && each.tensor.dim() != 2) {
      fail("optimizer", fmt::format("'{}': Muon needs a matrix, got {} dimensions", each.name, each.tensor.dim()));
    }
    first_.push_back(at::zeros_like(each.tensor, at::kFloat));
    second_.push_back(each.rule == UpdateRule::adamw ? at::zeros_like(each.tensor, at::kFloat) : at::Tensor());
  }
}

void sum_gradients(const std::vector<Trainable>& trainables) {
  if (current_world().size == 1) return;
  c10::NoGradGuard guard;
  std::vector<double> holders;
  for (const Trainable& each : trainables) holders.push_back(each.tensor.grad().defined() ? 1 : 0);
  holders = sum_over_processes(std::move(holders));
  std::vector<at::Tensor> gradients;
  for (size_t i = 0; i < trainables.size(); ++i) {
    if (holders[i] == 0) continue;
    at::Tensor tensor = trainables[i].tensor;
    if (!tensor.grad().defined()) tensor.mutable_grad() = at::zeros_like(tensor);
    gradients.push_back(tensor.grad());
  }
  sum_over_processes(gradients);
}

void Optimizer::clear_gradients() {
  for (Trainable& each : trainables_) each.tensor.mutable_grad().reset();
}

double Optimizer::step(double scale) {
  sum_gradients(trainables_);
  c10::NoGradGuard guard;
  double squares = 0;
  for (const Trainable& each : trainables_) {
    if (!each.tensor.grad().defined()) {
      if (each.may_rest) continue;
      fail("optimizer", fmt::format("'{}' has no gradient", each.name), "it does not take part in the loss");
    }
    const double norm = each.tensor.grad().norm().item<double>();
    squares += norm * norm;
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) {
    clear_gradients();
    return norm;
  }
  const double clip = settings_.clip_norm > 0 ? std::min(1.0, settings_.clip_norm / (norm + 1e-6)) : 1.0;
  ++steps_;
  const double correction1 = 1 - std::pow(settings_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(settings_.beta2, static_cast<double>(steps_));
  for (size_t i = 0; i < trainables_.size(); ++i) {
    Trainable& each = trainables_[i];
    if (!each.tensor.grad().defined()) continue;
    const double rate = each.learning_rate * scale;
    const at::Tensor gradient = each.tensor.grad().to(at::kFloat) * clip;
    if (each.weight_decay > 0) each.tensor.mul_(1 - rate * each.weight_decay);
    if (each.rule == UpdateRule::muon) {
      first_[i].mul_(settings_.momentum).add_(gradient);
      const at::Tensor direction = orthogonalised(gradient + settings_.momentum * first_[i]);
      const double shape =
          std::sqrt(std::max(1.0, static_cast<double>(gradient.size(0)) / static_cast<double>(gradient.size(1))));
      each.tensor.add_(direction, -rate * shape);
    } else {
      first_[i].mul_(settings_.beta1).add_(gradient, 1 - settings_.beta1);
      second_[i].mul_(settings_.beta2).addcmul_(gradient, gradient, 1 - settings_.beta2);
      const at::Tensor deviation = (second_[i] / correction2).sqrt_().add_(settings_.epsilon);
      each.tensor.addcdiv_(first_[i], deviation, -rate / correction1);
    }
  }
  clear_gradients();
  return norm;
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, at::Tensor>> list;
  for (size_t i = 0; i < trainables_.size(); ++i) {
    list.emplace_back("first." + trainables_[i].name, first_[i]);
    if (second_[i].defined()) list.emplace_back("second." + trainables_[i].name, second_[i]);
  }
  return list;
}

void Optimizer::restore(int64_t steps, const std::vector<std::pair<std::string, at::Tensor>>& state) {
  steps_ = steps;
  for (auto& [name, tensor] : this->state()) {
    const auto found = std::find_if(state.begin(), state.end(),
                                    [&, &wanted = name](const auto& each) { return each.first == wanted; });
    if (found == state.end() || found->second.sizes() != tensor.sizes()) {
      fail("optimizer", fmt::format("'{}' is missing from the checkpoint or has another shape", name));
    }
    tensor.copy_(found->second);
  }
}

double Schedule::at(int64_t step) const {
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up);
  const int64_t length = std::max<int64_t>(1, total - warm_up);
  const double done = std::clamp(static_cast<double>(step - warm_up) / static_cast<double>(length), 0.0, 1.0);
  switch (kind) {
    case Kind::constant:
      return 1;
    case Kind::cosine:
      return final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(M_PI * done));
    case Kind::linear:
      return 1 - (1 - final_fraction) * done;
  }
  return 1;
}

Schedule::Kind parse_schedule(const std::string& name) {
  if (name == "constant") return Schedule::Kind::constant;
  if (name == "cosine") return Schedule::Kind::cosine;
  if (name == "linear") return Schedule::Kind::linear;
  fail_usage("schedule", fmt::format("got '{}', expected constant, cosine or linear", name));
}

}  // namespace introspect
