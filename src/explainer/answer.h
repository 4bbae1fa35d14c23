// Asking an explainer every question of a data set's split.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"
#include "explainer/explainer.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace introspect {

struct AnswerOptions {
  Split split = Split::test;
  VectorCondition vectors = VectorCondition::real;
  LayerCondition layers = LayerCondition::real;
  uint64_t seed = 1;           // of random and shuffled vectors, and of the demonstrations
  int64_t template_index = 0;  // every question is asked with this one
  int64_t max_new_tokens = 50;
  std::vector<std::string> stop = {"\n"};
  int64_t demonstrations = 0;  // few-shot: examples of the train split in front, half of them changed
  int64_t batch = 128;
  int64_t limit = 0;  // only the first so many questions; 0: all
  std::string compute = "fp32";
};

// Greedy answers in the order of the split, with the text as generated. `report` gets done and total counts.
// Demonstrations that do not fit the model's positions are left out, the number used is returned in `used`.
std::vector<Answer> answer_questions(const Explainer& explainer, const Dataset& dataset, const AnswerOptions& options,
                                     const std::function<void(int64_t, int64_t)>& report = {},
                                     int64_t* used_demonstrations = nullptr);

}  // namespace introspect
