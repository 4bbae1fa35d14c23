// An explainer that is its own target moves while it learns: what it says of itself was true of the model it began as.
// Here its behaviour is asked for again as it trains, how far it drifts is measured, and what it learns follows it.
#pragma once

#include "explainer/explainer.h"
#include "explainer/lessons.h"
#include "explainer/train.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Watches the model of one lesson of input ablation. Throws Error for another task, and with settings.relabel for an
// explainer that is not the target.
class MovingTarget {
 public:
  MovingTarget(const Explainer& start, Learnt& lesson, size_t lesson_number, const SelfConsistency& settings,
               uint64_t seed);

  // Every `every` steps: measures, and gives the examples of the next `every` steps and those of validation the answers
  // of the model as it is now. Returns whether it did.
  bool before_step(const Explainer& explainer, const LearningPlan& plan, int64_t step);
  // How far it is from what it was; appended to drift().
  const Drift& measure(const Explainer& explainer, int64_t step);

  const std::vector<Drift>& drift() const { return drift_; }

  // For exact resume.
  Json state() const;
  void restore(const Explainer& explainer, const Json& state);

 private:
  void relabel(const Explainer& explainer, const std::vector<Example*>& examples);
  void refresh_validation(const Explainer& explainer);
  at::Tensor log_probabilities(const Explainer& explainer) const;  // [prompts, vocabulary], behind the hinted prompt

  Learnt& lesson_;
  size_t lesson_number_;
  SelfConsistency settings_;
  uint64_t seed_;
  std::vector<Example> train_, validation_;  // copies whose answers move
  std::vector<const Example*> watched_;      // of the data set: the fixed prompts
  std::vector<std::vector<int64_t>> prompts_;
  at::Tensor start_;  // log_probabilities at the start
  std::vector<Drift> drift_;
};

}  // namespace introspect
