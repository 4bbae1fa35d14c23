// Two dozen questions whose answers are told by their vectors alone.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"
#include "explainer/explainer.h"
#include "train/small_world.h"

#include <string>

namespace introspect::world {

// 24 train, 8 validation and 8 test examples; the vector of an example points where its answer is. `width`: of vectors.
inline Dataset questions(int64_t width = 32, uint64_t seed = 1) {
  Dataset dataset;
  dataset.task = "patching";
  dataset.info = {{"task", "patching"}};
  const int64_t count = 40;
  dataset.vectors = random_tensor({count, width}, seed) * 0.1;
  for (int64_t i = 0; i < count; ++i) {
    Example example;
    const bool changed = i % 8 < 4;
    const int64_t mine = i % 4, others = (mine + 1 + i / 8 % 3) % 4;
    const auto& [country, capital] = capitals()[static_cast<size_t>(mine)];
    example.id = fmt::format("patching-{:06}", i);
    example.split = i < 24 ? Split::train : i < 32 ? Split::validation : Split::test;
    example.cluster = fmt::format("prompt-{}", i / 2);
    example.layers = i % 3 == 0 ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{0, 1};
    example.vector = count - 1 - i;
    example.input = "The capital of " + country + " is";
    example.token = i % 2 == 0 ? country : "is";
    example.before = capital;
    example.after = changed ? capitals()[static_cast<size_t>(others)].second : capital;
    example.answer = answer_words(example.changed(), example.after);
    example.attributes = {{"token_type", i % 2 == 0 ? "subject final" : "relation"},
                          {"block", std::to_string(example.layers.front() / 2)},
                          {"relation", "capital"}};
    // one direction an answer, another for changed or not
    if (changed) dataset.vectors[example.vector][others] += 3.0;
    dataset.vectors[example.vector][changed ? 5 : 4] += 3.0;
    dataset.examples.push_back(std::move(example));
  }
  return dataset;
}

inline ExplainerConfig explainer_config(InjectionPolicy policy = InjectionPolicy::norm_matched, double scale = 5) {
  ExplainerConfig config;
  config.style.templates = {"Add {s}{v}{e} at layer {layer} to {tokens}: {input}\n"};
  config.style.blank_in_brackets = true;
  config.injection.policy = policy;
  config.injection.scale = scale;
  return config;
}

inline Explainer loud_explainer(const ExplainerConfig& explainer, int64_t positions = 256) {
  return Explainer(loud_model(config(positions)), tokenizer(), explainer);
}

}  // namespace introspect::world
