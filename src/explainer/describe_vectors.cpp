#include "explainer/describe_vectors.h"

#include "base/error.h"

#include <cmath>

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

std::vector<std::string> describe_vectors(const Explainer& explainer, const at::Tensor& vectors,
                                          const std::vector<int64_t>& layers, const AnswerOptions& options) {
  if (vectors.dim() != 2 || vectors.size(0) != std::ssize(layers)) {
    fail("explain", fmt::format("vectors of {} dimensions for {} layers, expected [{}, width]", vectors.dim(),
                                layers.size(), layers.size()));
  }
  if (explainer.config.task != "features") {
    fail("explain", fmt::format("an explainer of the task '{}', expected features", explainer.config.task));
  }
  Dataset dataset;
  dataset.task = "features";
  dataset.vectors = vectors.to(at::kFloat);
  for (int64_t i = 0; i < vectors.size(0); ++i) {
    const double norm = dataset.vectors[i].norm().item<double>();
    if (!std::isfinite(norm) || norm == 0) {
      fail("explain", fmt::format("vector {} has the norm {}: there is nothing to describe", i, norm));
    }
    Example example;
    example.id = fmt::format("vector-{}", i);
    example.split = Split::test;
    example.layers = {layers[i]};
    example.vector = i;
    dataset.examples.push_back(std::move(example));
  }
  std::vector<std::string> words;
  for (const Answer& answer : answer_questions(explainer, dataset, options)) words.push_back(answer.text);
  return words;
}

}  // namespace introspect
