// The steps of a recipe as commands of their own: dataset, train, answer.
#include "experiment/steps.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "experiment/feature_steps.h"
#include "experiment/recipe.h"
#include "experiment/task_report.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

namespace {

void add_dataset_of(CLI::App& group, const std::string& kind, const char* what, const char* records,
                    const char* example) {
  struct Options {
    std::string target, records, recipe, out;
  };
  auto options = std::make_shared<Options>();
  options->recipe = "demo-" + kind;
  CLI::App* command = group.add_subcommand(kind, what);
  command->add_option("--target", options->target, "model folder (default: the recipe's)");
  command->add_option(kind == "patching" ? "--records" : "--questions", options->records,
                      std::string(records) + " (default: the recipe's)");
  command->add_option("--recipe", options->recipe, "its [dataset] table has the settings")->capture_default_str();
  command->add_option("--out", options->out, "folder of the data set; work cut short goes on")->required();
  command->footer(std::string("Example: ") + example);
  command->callback([options, kind] {
    Recipe recipe = read_recipe(find_recipe(options->recipe));
    if (recipe.kind != kind) {
      fail_usage("dataset",
                 fmt::format("a recipe of the kind {}, expected {} ({})", recipe.kind, kind, recipe.path.string()));
    }
    if (!options->target.empty()) {
      recipe.target = options->target;
      recipe.target_name = recipe.target.lexically_normal().filename().string();
    }
    if (!options->records.empty()) recipe.records = options->records;
    make_dataset_step(recipe, options->out);
    if (!first_process()) return;
    const Dataset dataset = load_dataset(options->out);
    for (const std::string& line : data_lines(recipe, dataset)) std::printf("%s\n", line.c_str());
    std::printf("%s: %s examples\n", options->out.c_str(), dataset.info.at("counts").dump().c_str());
  });
}

void add_dataset_of_features(CLI::App& group) {
  struct Options {
    std::string target, saes, descriptions, recipe = "demo-features", out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("features", "what makes the latents of SAEs fire, in words");
  command->add_option("--target", options->target, "model folder (default: the recipe's)");
  command->add_option("--sae", options->saes,
                      "a SAE's folder, or one with a SAE in each subfolder (default: the recipe's)");
  command->add_option("--descriptions", options->descriptions,
                      "descriptions.jsonl that 'introspect describe' wrote (default: the recipe's)");
  command->add_option("--recipe", options->recipe, "its [features] and [dataset] tables have the settings")
      ->capture_default_str();
  command->add_option("--out", options->out, "folder: contexts/, descriptions/ and dataset/ come to lie in it")
      ->required();
  command->footer(
      "Example: introspect dataset features --target models/tiny-llama --sae models/tiny-llama-sae --out runs/f");
  command->callback([options] {
    Recipe recipe = read_recipe(find_recipe(options->recipe));
    if (recipe.kind != "features") {
      fail_usage("dataset",
                 fmt::format("a recipe of the kind {}, expected features ({})", recipe.kind, recipe.path.string()));
    }
    if (!options->target.empty()) {
      recipe.target = options->target;
      recipe.target_name = recipe.target.lexically_normal().filename().string();
    }
    if (!options->saes.empty()) recipe.features.saes = options->saes;
    if (!options->descriptions.empty()) recipe.features.descriptions = options->descriptions;
    feature_dataset_step(recipe, options->out);
    const fs::path folder = fs::path(options->out) / "dataset";
    const Dataset dataset = load_dataset(folder);
    for (const std::string& line : data_lines(recipe, dataset)) std::printf("%s\n", line.c_str());
    std::printf("%s: %s examples\n", folder.c_str(), dataset.info.at("counts").dump().c_str());
  });
}

void add_dataset(CLI::App& app) {
  CLI::App* group = app.add_subcommand("dataset", "Make the ground truth that explainers learn");
  group->require_subcommand(1);
  add_dataset_of(*group, "patching", "what the next token becomes when activations are replaced",
                 "facts: a folder, .json, .jsonl or .csv",
                 "introspect dataset patching --target models/tiny-llama --records facts --out runs/patches");
  add_dataset_of(*group, "ablation", "what the answer becomes when the hint is taken out of the prompt",
                 "a folder of MMLU's CSV files, .csv, .jsonl, or a folder of facts",
                 "introspect dataset ablation --target MODEL --questions mmlu --recipe mmlu-ablation --out runs/hints");
  add_dataset_of_features(*group);
  add_dataset_import(*group);
}

// "runs/hints:2": a data set and its weight.
std::pair<fs::path, double> weighted_dataset(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || fs::exists(text)) return {text, 1};
  const std::string number = text.substr(colon + 1);
  char* end = nullptr;
  const double weight = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !(weight > 0) || !std::isfinite(weight)) {
    fail_usage("train", fmt::format("--dataset: got '{}', expected a folder, or a folder:weight above 0", text));
  }
  return {text.substr(0, colon), weight};
}

// The given recipe of the task, or the demo's. For a single data set one of another task's will do.
Recipe recipe_of(const std::vector<std::string>& given, const std::string& task, bool single) {
  for (const std::string& name : given) {
    Recipe recipe = read_recipe(find_recipe(name, task));
    if (recipe.kind == task || single) return recipe;
  }
  return read_recipe(find_recipe("", task));
}

ExplainerTraining training_of(const Recipe& recipe, const std::string& condition) {
  for (const Variant& each : recipe.variants) {
    if (each.condition == condition) return each.training;
  }
  fail_usage("train", fmt::format("the recipe has no variant '{}' ({})", condition, recipe.path.string()));
}

void add_train(CLI::App& app) {
  struct Options {
    std::string model, condition = "trained", projections, out;
    std::vector<std::string> datasets, recipes;
    int64_t seed = 1, steps = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "Train an explainer on a data set, or on several at once");
  command->add_option("--model", options->model, "folder of the model that becomes the explainer")->required();
  command
      ->add_option(
          "--dataset", options->datasets,
          "folder of the data set; given several times, the explainer learns them together, and a weight after "
          "a colon says how large a share of each step is of it (default: 1 each)")
      ->required();
  command->add_option("--recipe", options->recipes,
                      "its [train] table has the settings (default: the demo's for the task); of several data sets one "
                      "a task can be given: how questions are asked is each one's own, all else is the first's");
  command->add_option("--condition", options->condition, "a [[variant]] of the recipe instead of the plain settings")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "order of the examples, projections, LoRA factors")
      ->capture_default_str();
  command->add_option("--steps", options->steps, "instead of the recipe's");
  command->add_option("--projections", options->projections,
                      "folder that 'introspect project' wrote, for injection.projection = \"least_squares\"");
  command->add_option("--out", options->out, "folder of the explainer; resumes what is unfinished there")->required();
  command->footer("Example: introspect train --model M --dataset runs/patches --dataset runs/hints:2 --out runs/joint");
  command->callback([options] {
    std::vector<Dataset> datasets;
    std::vector<Lesson> lessons;
    for (const std::string& text : options->datasets) datasets.push_back(load_dataset(weighted_dataset(text).first));
    for (size_t i = 0; i < datasets.size(); ++i) {
      const auto [folder, weight] = weighted_dataset(options->datasets[i]);
      lessons.push_back(
          {folder, &datasets[i],
           training_of(recipe_of(options->recipes, datasets[i].task, datasets.size() == 1), options->condition),
           weight});
    }
    ExplainerTraining training = lessons.front().training;
    training.seed = static_cast<uint64_t>(options->seed);
    if (options->steps > 0) training.steps = options->steps;
    training.projections = options->projections;
    if (training.method == TrainMethod::lora) {
      training.lora = resolve_targets(training.lora, read_config(options->model));
      if (first_process())
        std::printf("LoRA of rank %lld on %s\n", static_cast<long long>(training.lora.rank),
                    fmt::format("{}", fmt::join(training.lora.targets, ", ")).c_str());
    }
    std::unique_ptr<Progress> progress;
    const TrainedExplainer trained =
        train_explainer(options->model, lessons, training, options->out, [&](const TrainingProgress& p) {
          if (!progress) progress = std::make_unique<Progress>("train", p.steps, "step");
          progress->note(fmt::format("loss {:.3f} | {:.0f} answer tokens/s", p.loss, p.answer_tokens_per_second));
          progress->set(p.step);
        });
    if (progress) progress->finish();
    if (trained.was_complete) {
      std::printf("%s is complete; nothing to do\n", options->out.c_str());
    } else {
      std::printf("%s: %lld steps, validation loss %.3f\n", options->out.c_str(), static_cast<long long>(trained.steps),
                  trained.validation_loss);
    }
  });
}

void add_answer(CLI::App& app) {
  struct Options {
    std::string explainer, dataset, recipe, vectors = "real", split = "test", out, compute = "fp32", simulate;
    bool untrained = false;
    int64_t seed = 1, demonstrations = 0, limit = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("answer", "Ask an explainer every question of a data set");
  command->add_option("--explainer", options->explainer, "folder that 'introspect train' wrote")->required();
  command->add_option("--dataset", options->dataset, "folder of the data set")->required();
  command->add_option("--vectors", options->vectors, "real, zero, random, shuffled or shuffled_in_cell")
      ->capture_default_str();
  command->add_option("--split", options->split, "train, validation or test")->capture_default_str();
  command->add_flag("--untrained", options->untrained,
                    "the folder is a plain model, asked as the recipe's [train] says");
  command->add_option("--simulate", options->simulate,
                      "ablation: it is not asked, but answers the prompts itself: with and without the hint (both), or "
                      "without (hint_differs: changed exactly if the hint names another answer)");
  command->add_option("--demonstrations", options->demonstrations, "few-shot: solved examples in front");
  command->add_option("--recipe", options->recipe, "for --untrained (default: the demo's for the data set's task)");
  command->add_option("--seed", options->seed, "of random vectors and demonstrations")->capture_default_str();
  command->add_option("--limit", options->limit, "only so many questions");
  command->add_option("--compute", options->compute, "fp32, bf16 or auto")->capture_default_str();
  command->add_option("--out", options->out, "folder of answers.jsonl")->required();
  command->callback([options] {
    AnswerJob job;
    job.model = options->explainer;
    if (options->untrained) {
      job.untrained = read_recipe(find_recipe(options->recipe, load_dataset(options->dataset).task))
                          .variants.front()
                          .training.explainer;
    }
    if (!options->simulate.empty()) job.simulation = parse_simulation(options->simulate);
    job.options.vectors = parse_condition(options->vectors);
    job.options.split = parse_split(options->split);
    job.options.seed = static_cast<uint64_t>(options->seed);
    job.options.demonstrations = options->demonstrations;
    job.options.limit = options->limit;
    job.options.compute = options->compute;
    answer_step(job, options->dataset, options->out);
    std::printf("%s\n", (fs::path(options->out) / "answers.jsonl").string().c_str());
  });
}

}  // namespace

void add_step_commands(CLI::App& app) {
  add_dataset(app);
  add_train(app);
  add_answer(app);
}

}  // namespace introspect
