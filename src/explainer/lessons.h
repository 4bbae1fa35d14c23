// What an explainer is trained on, made ready: for src/explainer/train.cpp.
#pragma once

#include "explainer/explainer.h"
#include "explainer/train.h"

#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// A data set while it is learnt.
struct Learnt {
  Lesson lesson;
  size_t task = 0;  // Explainer::config_of
  std::vector<const Example*> train, validation;
  at::Tensor train_vectors, validation_vectors;  // a row an example; undefined if the task has none
  LayerLists layer_lists;
  std::vector<Question> validation_questions;
  double validation_loss = 0;  // the last

  const QuestionStyle& style() const { return lesson.training.explainer.style; }
};

// How the explainer is asked about each task, a configuration a task. Throws Error for two lessons of one task that are
// asked differently.
std::vector<ExplainerConfig> configs_of(const std::vector<Lesson>& lessons);

// The examples of each lesson with their vectors. Throws Error for a lesson without train examples and for an example
// that is longer than the explainer's positions in any wording.
std::vector<Learnt> prepare_lessons(const Explainer& explainer, const std::vector<Lesson>& lessons, uint64_t seed);

// The projections that the lessons' vectors need: made, or those of `training.projections`.
void prepare_projections(Explainer& explainer, const std::vector<Learnt>& lessons, const ExplainerTraining& training);

// A question of a step; which wording it has depends on the seed, the example and the step.
Question question_for_step(const Explainer& explainer, const Learnt& lesson, const Example& example, uint64_t seed,
                           int64_t step);

// Which examples each step learns: lesson, and place in its train examples. A lesson is walked through in one shuffled
// order after another.
using LearningPlan = std::vector<std::vector<std::pair<size_t, size_t>>>;
LearningPlan plan_steps(const std::vector<Learnt>& lessons, int64_t steps, int64_t batch, uint64_t seed);

}  // namespace introspect
