// One explainer of several tasks against an explainer for each: a recipe of kind "joint".
//
//   kind = "joint"; title, question, weak: what the page says on top
//   [target]   model             the target of all tasks, and what every explainer is before it is trained
//   [[task]]   recipe, weight, changes
//                                a recipe of another kind; its share of each joint step; tables merged into it
//   [train]    steps, ...        merged into the [train] table of every task: `steps` of its single explainer; the
//   joint
//                                one has as many for every task
//   [evaluate] seeds, ...        merged into that of every task
//
// Of the tasks' recipes the target, the explainers, the variants, the search and the generalisation are left out.
#pragma once

#include "experiment/recipe.h"
#include "experiment/run.h"

#include <functional>
#include <string>
#include <vector>

namespace introspect {

struct JointRecipe {
  fs::path path;
  std::string title, question;
  std::vector<std::string> weak;
  std::vector<Recipe> tasks;  // changed as said above; each with the explainer "self", the target
  std::vector<double> weights;
  ExplainerTraining training;  // of the joint explainer, beside what is each task's own
};
// Throws Error for unknown keys, two tasks of one kind, a single task, weights that are not above 0, and as read_recipe
// does.
JointRecipe read_joint_recipe(const fs::path& path);

// The parts of its page: the comparison, then each task's own. Below `out` each task has its folder <kind>/ as
// run_recipes makes it, with the row "self joint" beside "self trained"; the joint explainers are in joint/.
std::vector<ReportInput> joint_parts(const JointRecipe& recipe, const fs::path& out, const RunOptions& options,
                                     const std::function<void(const std::string&)>& say);
// With the page, in out/report.
RunResult run_joint(const JointRecipe& recipe, const fs::path& out, const RunOptions& options,
                    const std::function<void(const std::string&)>& say);

}  // namespace introspect
