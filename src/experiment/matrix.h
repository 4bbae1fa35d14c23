// Who explains whom: a recipe of kind "matrix". Every explainer is trained alike on every target's ground truth, task
// by task; or with `transfer`, explainers trained on one target are asked about the others.
//
//   kind = "matrix"; title, question, weak: what the page says on top
//   targets, explainers          names of models; left out: all. Each target also explains itself ("self"), unless the
//                                list of explainers leaves it out; explainers = ["self"]: each target itself alone
//   transfer                     true: self of each target is asked about each other one; with [projection] also with
//                                that one's vectors mapped, by least squares, into the space of its own target
//   [[model]]  name, path        a Hugging Face folder
//              pretrain, step    in place of path: what the [[pretrain]] of that name made, or its snapshot at the step
//              size_class        models of one class are of the same size; left out: layers and width decide
//   [[pretrain]] name, recipe    a pre-training recipe (train/pretrain.h) that is run first, into <out>/pretrain/<name>
//   [[task]]   recipe            a recipe of kind patching, ablation or features
//              name              of its folder; left out: its kind
//              targets, explainers, metric
//                                of this task alone; metric: the main one (evaluate/metrics.h)
//              changes           tables merged into the recipe; paths in them are relative to the task's recipe
//              as_target.<model>      merged on top where that model is the target
//              as_explainer.<model>   merged into [train] where that model explains
//   [train]    merged into the [train] table of every task: each explainer gets the same
//   [evaluate] seeds, ...        merged into that of every task
//   [projection]                 least-squares maps (explainer/paired.h), of every task
//   [similarity] text, tokens, context, ridge, seed, directions, exemplars
//                                how alike each target and explainer are (evaluate/similarity.h), and whether that goes
//                                with the score
//
// Of the tasks' recipes the target, the explainers, the variants, the search and the generalisation are left out. An
// explainer of another width than its target gets a random projection, unless its settings name another one.
#pragma once

#include "evaluate/similarity.h"
#include "experiment/recipe.h"
#include "experiment/run.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

struct MatrixModel {
  std::string name;
  fs::path path;                // empty until it is made, if `pretrain` names what makes it
  std::string pretrain;         // empty: it is there already
  std::optional<int64_t> step;  // of a snapshot
  std::string size_class;       // empty: by layers and width
};

struct MatrixPretraining {
  std::string name;
  fs::path recipe;
};

struct MatrixTask {
  std::string name, kind, metric;
  std::vector<size_t> targets, explainers;  // places in MatrixRecipe::models
  bool self_alone = false;                  // each target is explained by itself, whatever `explainers` says
  fs::path path;                            // of its recipe
  Json json;                                // that recipe with all changes but those for a target or an explainer
  Json as_target, as_explainer;             // by model name
};

struct MatrixRecipe {
  fs::path path;
  std::string title, question;
  std::vector<std::string> weak;
  bool transfer = false;
  std::vector<MatrixModel> models;
  std::vector<MatrixPretraining> pretraining;
  std::vector<MatrixTask> tasks;
  std::optional<SimilaritySettings> similarity;

  const MatrixModel& model(size_t place) const { return models.at(place); }
};
// Throws Error for unknown keys, names that are given twice or that no model has, and as read_recipe does.
MatrixRecipe read_matrix_recipe(const fs::path& path);

// What `explainers` (places in models) learn of one target of a task: self first, called "self", the others by their
// names. `random_projection`: those that get one.
Recipe matrix_cell_recipe(const MatrixRecipe& recipe, const MatrixTask& task, size_t target,
                          const std::vector<size_t>& explainers, const std::vector<size_t>& random_projection = {});

// The explainers of a target in the order in which they are trained: itself first.
std::vector<size_t> explainers_of(const MatrixTask& task, size_t target);

// Below `out`: pretrain/<name>/, and for each task and target <task>/<target>/ as run_recipes makes it, with a page of
// its own; then report/ with the matrices, and matrix.csv beside it. A target that the procedure refuses, and an
// explainer that cannot be asked as the task asks, are shown with the reason. Throws Error if a task's every target is
// refused.
RunResult run_matrix(const MatrixRecipe& recipe, const fs::path& out, const RunOptions& options,
                     const std::function<void(const std::string&)>& say);

}  // namespace introspect
