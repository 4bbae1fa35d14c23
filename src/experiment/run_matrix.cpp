#include "base/error.h"
#include "base/files.h"
#include "base/parallel.h"
#include "base/shared_progress.h"
#include "experiment/matrix_report.h"
#include "experiment/similarity_steps.h"
#include "experiment/steps.h"
#include "report/sections.h"
#include "report/task_words.h"
#include "text/tokenizer.h"
#include "train/pretrain.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

using Say = std::function<void(const std::string&)>;

// Side by side; one alone may use all threads.
void pretrain_all(const std::vector<MatrixPretraining>& list, const fs::path& out, int workers, const Say& say) {
  if (list.empty()) return;
  std::vector<PretrainRecipe> recipes;
  int64_t steps = 0;
  for (const MatrixPretraining& each : list) {
    recipes.push_back(read_pretrain_recipe(each.recipe));
    steps += steps_of(recipes.back());
  }
  SharedProgress progress("pretrain", steps, "step");
  std::mutex mutex;
  std::vector<std::function<void()>> jobs;
  for (size_t i = 0; i < list.size(); ++i) {
    jobs.emplace_back([&, i] {
      const std::string& name = list[i].name;
      const auto say_of = [&](const std::string& line) {
        const std::lock_guard<std::mutex> lock(mutex);
        say("  " + name + ": " + line);
      };
      int64_t last = 0;
      pretrain(recipes[i], out / "pretrain" / name, -1, say_of, [&](const PretrainProgress& now) {
        progress.advance(now.step - last, name + ": " + now.note());
        last = now.step;
      });
      progress.advance(steps_of(recipes[i]) - last, name);
    });
  }
  run_parallel(jobs, workers, list.size() == 1 ? at::get_num_threads() : 1);
  progress.finish();
}

// Models that a pre-training makes first.
void make_models(MatrixRecipe& recipe, const fs::path& out, int workers, const Say& say) {
  pretrain_all(recipe.pretraining, out, workers, say);
  for (MatrixModel& model : recipe.models) {
    if (!model.pretrain.empty()) {
      model.path = fs::absolute(out / "pretrain" / model.pretrain);
      if (model.step) model.path = snapshot_folder(model.path, *model.step);
    }
    if (!fs::exists(model.path / "config.json")) {
      fail("matrix", fmt::format("model '{}': no config.json in {}", model.name, model.path.string()),
           model.step ? "name the step in training.snapshots of the pre-training recipe" : "");
    }
  }
}

bool has_chat_template(const MatrixModel& model) {
  return Tokenizer::open(model.path).chat_template().has_value();
}

bool asks_target_in_chat(const Recipe& recipe) {
  return recipe.kind == "ablation"   ? recipe.ablation.style.chat
         : recipe.kind == "patching" ? recipe.patching.style_name == "chat"
                                     : false;
}

// The recipe of one target with the explainers that can take part; `found` receives the others.
Recipe plan_target(const MatrixRecipe& recipe, const MatrixTask& task, MatrixTarget& found) {
  const std::vector<size_t> wanted = explainers_of(task, found.target);
  const Recipe whole = matrix_cell_recipe(recipe, task, found.target, wanted);
  if (asks_target_in_chat(whole) && !has_chat_template(recipe.model(found.target))) {
    found.refused = "it has no chat template, and this task asks it in a chat";
    return whole;
  }
  const int64_t width = read_config(whole.target).d_model;
  std::vector<size_t> projected;
  for (size_t e = 0; e < wanted.size(); ++e) {
    const ExplainerTraining training = training_of(whole, whole.explainers[e], whole.variants.front(), {});
    if (training.explainer.style.chat && !has_chat_template(recipe.model(wanted[e]))) {
      found.left_out[wanted[e]] = "no chat template";
      continue;
    }
    const ProjectionKind kind = training.explainer.injection.projection;
    const bool needs_same = kind == ProjectionKind::none || kind == ProjectionKind::identity;
    if (wanted[e] != found.target && task.kind != "ablation" && needs_same &&
        read_config(whole.explainers[e].model).d_model != width) {
      projected.push_back(wanted[e]);
    }
    found.explainers.push_back(wanted[e]);
  }
  if (found.explainers.empty()) {
    found.refused = "no explainer can be asked as this task asks";
    return whole;
  }
  return matrix_cell_recipe(recipe, task, found.target, found.explainers, projected);
}

// Recipe and data set of every target. What a procedure refuses is not an error, unless it refuses all.
std::vector<std::optional<Recipe>> plan_targets(const MatrixRecipe& recipe, MatrixTaskResult& result,
                                                const fs::path& out, const Say& say) {
  std::vector<std::optional<Recipe>> recipes;
  for (MatrixTarget& found : result.targets) {
    const MatrixModel& target = recipe.model(found.target);
    say(fmt::format("\n{}: {}", result.task->name, target.name));
    const Recipe planned = plan_target(recipe, *result.task, found);
    recipes.emplace_back();
    try {
      if (found.refused.empty()) {
        const Dataset made = make_data(planned, out / target.name, [](const std::string&) {});
        for (const Split split : {Split::train, Split::test}) {
          if (made.of(split).empty()) found.refused = fmt::format("its data set has no {} examples", split_name(split));
        }
      }
    } catch (const Error& error) {
      // that the folder holds work of other settings is no refusal: it is for the user to decide about
      const bool own_work = std::string_view(error.what()).starts_with("[run record]");
      if (error.kind() != ErrorKind::failure || own_work) throw;
      found.refused = error.what();
    }
    if (!found.refused.empty()) {
      say("  refused: " + found.refused);
      continue;
    }
    for (const auto& [place, why] : found.left_out) say(fmt::format("  {}: {}", recipe.model(place).name, why));
    recipes.back() = planned;
  }
  if (std::none_of(recipes.begin(), recipes.end(), [](const auto& each) { return each.has_value(); })) {
    fail("matrix", fmt::format("task '{}': every target is refused; {}: {}", result.task->name,
                               recipe.model(result.targets.front().target).name, result.targets.front().refused));
  }
  return recipes;
}

// The explainers of all targets, side by side: each target alone may have a single one. `run_task` keeps them.
std::vector<std::vector<TrainJob>> train_targets(const MatrixRecipe& recipe, const MatrixTaskResult& result,
                                                 const std::vector<std::optional<Recipe>>& recipes, const fs::path& out,
                                                 const RunOptions& options, const Say& say) {
  std::vector<PreparedTask> prepared(recipes.size());
  std::vector<TrainJob> all;
  for (size_t t = 0; t < recipes.size(); ++t) {
    if (!recipes[t]) continue;
    const std::string& name = recipe.model(result.targets[t].target).name;
    prepared[t] = prepare_task(*recipes[t], out / name, options, [](const std::string&) {});
    for (TrainJob job : prepared[t].explainers) {
      job.name = name + " explained by " + job.name;
      job.lessons = {{out / name / "dataset", &prepared[t].dataset, job.training}};
      all.push_back(std::move(job));
    }
  }
  say(fmt::format("\n{}: explainers of all targets", result.task->name));
  train_side_by_side(all, {}, {}, options.workers, "train", say);
  std::vector<std::vector<TrainJob>> trained;
  for (PreparedTask& task : prepared) trained.push_back(std::move(task.explainers));
  return trained;
}

// Self of each other target, asked about target `to`: as it is, and with that one's vectors mapped into the space of
// its own target.
std::vector<TrainJob> transferred(const MatrixRecipe& recipe, const MatrixTaskResult& result,
                                  const std::vector<std::optional<Recipe>>& recipes,
                                  const std::vector<std::vector<TrainJob>>& trained, size_t to, const fs::path& out,
                                  const Say& say) {
  std::vector<TrainJob> jobs;
  const MatrixModel& asked = recipe.model(result.targets[to].target);
  for (size_t from = 0; from < result.targets.size(); ++from) {
    if (from == to || !recipes[from]) continue;
    const MatrixModel& learnt = recipe.model(result.targets[from].target);
    if (recipes[from]->explainers.front().name != "self") continue;
    fs::path map;
    if (recipes[to]->projection && result.task->kind != "ablation") {
      const Dataset dataset = load_dataset(out / asked.name / "dataset");
      std::set<int64_t> layers;
      for (const Example& example : dataset.examples) {
        layers.insert(example.layers.empty() ? 0 : example.layers.back());
      }
      map = out / asked.name / "maps" / learnt.name;
      for (const ProjectionQuality& quality :
           project_step(asked.path, learnt.path, {layers.begin(), layers.end()}, *recipes[to]->projection, map)) {
        say(fmt::format("  layer {} of {} to layer {} of {}, explained variance {:.3f}", quality.target_layer,
                        asked.name, quality.explainer_layer, learnt.name, quality.explained_variance));
      }
    }
    for (TrainJob job : trained[from]) {
      if (job.name != "self" || job.condition != "trained") continue;
      job.name = learnt.name;
      job.condition = kAsked;
      jobs.push_back(job);
      if (map.empty()) continue;
      job.condition = kAskedMapped;
      job.map = map;
      jobs.push_back(job);
    }
  }
  return jobs;
}

MatrixTaskResult run_matrix_task(const MatrixRecipe& recipe, const MatrixTask& task, const fs::path& out,
                                 const RunOptions& options, const Say& say) {
  MatrixTaskResult result;
  result.task = &task;
  for (const size_t target : task.targets) {
    result.targets.emplace_back();
    result.targets.back().target = target;
  }
  const std::vector<std::optional<Recipe>> recipes = plan_targets(recipe, result, out, say);
  const std::vector<std::vector<TrainJob>> trained = recipe.transfer
                                                         ? train_targets(recipe, result, recipes, out, options, say)
                                                         : std::vector<std::vector<TrainJob>>(recipes.size());
  for (size_t t = 0; t < recipes.size(); ++t) {
    if (!recipes[t]) continue;
    MatrixTarget& found = result.targets[t];
    const std::string& name = recipe.model(found.target).name;
    say(fmt::format("\n{}: {}", task.name, name));
    std::vector<TrainJob> further;
    if (recipe.transfer) further = transferred(recipe, result, recipes, trained, t, out, say);
    found.result = run_task(*recipes[t], out / name, options, say, further);
    if (recipe.similarity) similarity_steps(recipe, found, out / name, say);
    const ReportInput part = report_of(*recipes[t], found.result, options.command);
    if (!part.valid) found.invalid = part.invalid_because.empty() ? "its gate did not hold" : part.invalid_because;
    write_report(part, out / name / "report");
  }
  return result;
}

}  // namespace

RunResult run_matrix(const MatrixRecipe& given, const fs::path& out, const RunOptions& options, const Say& say) {
  MatrixRecipe recipe = given;
  make_models(recipe, out, options.workers, say);
  RunResult result;
  std::vector<MatrixTaskResult> tasks;
  for (const MatrixTask& task : recipe.tasks) {
    tasks.push_back(run_matrix_task(recipe, task, out / task.name, options, say));
    for (const MatrixTarget& found : tasks.back().targets) {
      result.scores.insert(result.scores.end(), found.result.scores.begin(), found.result.scores.end());
    }
  }
  ReportInput part = matrix_part(recipe, tasks, options.command);
  if (recipe.similarity) {
    const std::vector<std::string> sentences = similarity_sentences(recipe, tasks);
    part.answer.insert(part.answer.begin(), sentences.begin(), sentences.end());
    std::vector<OwnSection> sections = similarity_sections(recipe, tasks);
    std::move(part.sections.begin(), part.sections.end(), std::back_inserter(sections));
    part.sections = std::move(sections);
  }
  write_report(part, out / "report");
  if (recipe.similarity) write_text(out / "report" / "similarity.csv", similarity_csv(recipe, tasks));
  write_text(out / "report" / "matrix.csv", matrix_csv(recipe, tasks));
  for (const OwnSection& section : part.sections) {
    result.summary += fmt::format("\n{}\n\n{}", section.title, own_section_markdown(section));
  }
  result.page = out / "report" / "report.html";
  return result;
}

}  // namespace introspect
