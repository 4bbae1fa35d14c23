// AdamW, and Muon for weight matrices, over a list of named tensors.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

enum class UpdateRule {
  adamw,  // Loshchilov and Hutter 2019: decay apart from the gradient
  muon    // Jordan 2024: momentum, then the nearest orthogonal matrix by five Newton-Schulz steps
};

struct Trainable {
  std::string name;
  at::Tensor tensor;  // a leaf that requires gradients
  UpdateRule rule = UpdateRule::adamw;
  double learning_rate = 1e-3;
  double weight_decay = 0;  // times the learning rate, off the weight, each step
  bool may_rest = false;    // a step whose loss does not involve it leaves it alone; else that is an Error
};

struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // AdamW
  double momentum = 0.95;                             // Muon
  double clip_norm = 1.0;                             // of all gradients together; 0: no clipping
};

// Sums the gradients over all processes (nothing to do for one). Where another process has a gradient and this one has
// none, its share is 0.
void sum_gradients(const std::vector<Trainable>& trainables);

class Optimizer {
 public:
  Optimizer(std::vector<Trainable> trainables, const OptimizerSettings& settings);

  // One step with every learning rate times `scale` (the schedule); the gradients are cleared. Returns the norm of all
  // gradients before clipping. A norm that is not finite changes nothing and is returned: the caller decides.
  // Of several processes (base/distributed.h) each brings the gradients of its share of the step's loss; they are
  // summed here, so that all take the same step.
  double step(double scale);
  void clear_gradients();
  int64_t steps() const { return steps_; }
  const std::vector<Trainable>& trainables() const { return trainables_; }

  // Moments by name, for checkpoints; restore throws Error for a missing name or another shape.
  std::vector<std::pair<std::string, at::Tensor>> state() const;
  void restore(int64_t steps, const std::vector<std::pair<std::string, at::Tensor>>& state);

 private:
  std::vector<Trainable> trainables_;
  OptimizerSettings settings_;
  std::vector<at::Tensor> first_, second_;  // second_ is undefined for Muon
  int64_t steps_ = 0;
};

// The learning rate's course: a factor on the base rate.
struct Schedule {
  enum class Kind { constant, cosine, linear } kind = Kind::constant;
  int64_t warm_up = 0;        // steps from 0 to 1
  int64_t total = 1;          // steps of the whole run
  double final_fraction = 0;  // at the end, for cosine and linear
  double at(int64_t step) const;
};
Schedule::Kind parse_schedule(const std::string& name);  // throws Error

}  // namespace introspect
