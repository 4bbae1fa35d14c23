// Whether an explainer that is more like its target explains it better: the [similarity] table of a matrix.
#pragma once

#include "experiment/matrix_report.h"

#include <functional>
#include <string>
#include <vector>

namespace introspect {

// Compares the target of a task with each of its explainers on the layers whose vectors the data set asks about, along
// the vectors of its test examples; <out>/similarity/<explainer>/ has run.json. Nothing for a task without vectors.
void similarity_steps(const MatrixRecipe& recipe, MatrixTarget& found, const fs::path& out,
                      const std::function<void(const std::string&)>& say);

// A section a task: how each measure goes with the score by layer, a figure a measure, and every point.
std::vector<OwnSection> similarity_sections(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);
std::vector<std::string> similarity_sentences(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);
// One line a point: task, target, explainer, layers, score of the group, every measure.
std::string similarity_csv(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results);

}  // namespace introspect
