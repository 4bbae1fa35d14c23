#include "experiment/run.h"

#include "base/error.h"
#include "base/json.h"
#include "evaluate/scores.h"
#include "experiment/answer_jobs.h"
#include "experiment/collect_rows.h"
#include "experiment/feature_steps.h"
#include "experiment/findings.h"
#include "experiment/own_labels.h"
#include "experiment/search.h"
#include "experiment/simulator_steps.h"
#include "experiment/steps.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

bool takes_part(const Variant& variant, const std::string& name) {
  return variant.explainers.empty() ||
         std::find(variant.explainers.begin(), variant.explainers.end(), name) != variant.explainers.end();
}

bool has_seed(const std::vector<int64_t>& seeds, int64_t seed) {
  return seeds.empty() || std::find(seeds.begin(), seeds.end(), seed) != seeds.end();
}

FittedFolders projection_steps(const Recipe& recipe, const Dataset& dataset, const fs::path& out,
                               const std::function<void(const std::string&)>& say) {
  std::set<int64_t> layers;
  for (const Example& example : dataset.examples) layers.insert(example.layers.empty() ? 0 : example.layers.back());
  FittedFolders folders;
  for (const ExplainerEntry& entry : recipe.explainers) {
    for (const Variant& variant : recipe.variants) {
      const ProjectionKind kind = training_of(recipe, entry, variant, {}).explainer.injection.projection;
      if (!is_fitted(kind) || !takes_part(variant, entry.name)) continue;
      const auto [place, fresh] = folders.try_emplace({entry.name, kind});
      if (!fresh) continue;
      const bool least_squares = kind == ProjectionKind::least_squares;
      place->second = out / "projections" / (least_squares ? entry.name : entry.name + "-" + projection_name(kind));
      PairedSettings settings = *recipe.projection;
      settings.kind = kind;
      for (const ProjectionQuality& quality :
           project_step(recipe.target, entry.model, {layers.begin(), layers.end()}, settings, place->second)) {
        say(fmt::format("  {}{}: layer {} of the target to its layer {}, explained variance {:.3f}", entry.name,
                        least_squares ? "" : ", " + projection_name(kind), quality.target_layer,
                        quality.explainer_layer, quality.explained_variance));
      }
    }
  }
  return folders;
}

fs::path train_folder(const fs::path& out, const std::string& name, const std::string& condition, int64_t seed) {
  return out / "explainers" / fmt::format("{}-{}-seed{}", name, condition, seed);
}

// Seed by seed, so that a run cut short has all explainers of its first seeds.
std::vector<TrainJob> train_jobs(const Recipe& recipe, const std::vector<Trial>& trials,
                                 const FittedFolders& projections, const fs::path& out) {
  std::vector<TrainJob> jobs;
  for (int64_t seed : recipe.evaluate.seeds) {
    for (const Variant& variant : recipe.variants) {
      for (const ExplainerEntry& entry : recipe.explainers) {
        if (!takes_part(variant, entry.name) || !has_seed(variant.seeds, seed) || !has_seed(entry.seeds, seed))
          continue;
        TrainJob job{entry.name,
                     variant.condition,
                     seed,
                     entry.model,
                     train_folder(out, entry.name, variant.condition, seed),
                     training_of(recipe, entry, variant, chosen_changes(recipe, trials, entry.name))};
        job.training.seed = static_cast<uint64_t>(seed);
        add_projections(job, projections);
        jobs.push_back(std::move(job));
      }
    }
  }
  return jobs;
}

// How many of the demonstrations wanted fitted the model's positions, where not all did.
NamedValues demonstration_notes(const std::vector<AnswerJob>& jobs, const fs::path& out) {
  NamedValues notes;
  for (const AnswerJob& job : jobs) {
    if (job.options.demonstrations == 0) continue;
    const fs::path file = answer_folder(out, job) / "run.json";
    const Json record = read_json(file);
    const int64_t used = json_get<int64_t>(record.at("results"), "demonstrations_used", file.string());
    if (used == job.options.demonstrations) continue;
    notes.emplace_back(job.condition, fmt::format("{} of {} demonstrations fit the explainer's positions", used,
                                                  job.options.demonstrations));
  }
  return notes;
}

}  // namespace

Dataset limited(const Dataset& dataset, int64_t limit) {
  Dataset scored = dataset;
  if (limit <= 0) return scored;
  scored.examples.clear();
  int64_t test = 0;
  for (const Example& example : dataset.examples) {
    if (example.split == Split::test && test++ >= limit) continue;
    scored.examples.push_back(example);
  }
  return scored;
}

Dataset make_data(const Recipe& recipe, const fs::path& out, const std::function<void(const std::string&)>& say) {
  const fs::path dataset_folder = out / "dataset";
  const bool features = recipe.kind == "features";
  say(features                    ? "1 data set: what makes every latent fire, and the description that fits it best"
      : recipe.kind == "ablation" ? "1 data set: every question with and without its hint, then a balanced choice"
                                  : "1 data set: every patch of every prompt, then a balanced choice");
  features ? feature_dataset_step(recipe, out) : make_dataset_step(recipe, dataset_folder);
  Dataset dataset = load_dataset(dataset_folder);
  say(fmt::format("  {} train, {} validation, {} test examples", dataset.of(Split::train).size(),
                  dataset.of(Split::validation).size(), dataset.of(Split::test).size()));
  if (!features) {
    say(fmt::format("  the target answers {:.1f}% of its prompts rightly",
                    100 * dataset.info.at("target_accuracy").at("share").get<double>()));
  }
  for (const std::string& line : data_lines(recipe, dataset)) say("  " + line);
  return dataset;
}

namespace {

// The plain explainers of `recipe` asked about each other data set, beside one that learnt that.
std::vector<GeneralisationFact> transfer_steps(const Recipe& recipe, const std::vector<TrainJob>& trained,
                                               const std::vector<Trial>& trials, const fs::path& out,
                                               const RunOptions& options,
                                               const std::function<void(const std::string&)>& say) {
  std::vector<GeneralisationFact> facts;
  const std::string& self = recipe.explainers.front().name;
  for (const Transfer& transfer : recipe.transfers) {
    say(fmt::format("  trained on {}, asked about {}", transfer.trained_on, transfer.tested_on));
    Json json = transfer.json;
    if (const Json chosen = chosen_changes(recipe, trials, self); !chosen.is_null()) json["train"].merge_patch(chosen);
    const Recipe other = parse_recipe(json, recipe.path);
    std::vector<TrainJob> asked;
    for (const TrainJob& job : trained) {
      if (job.name != self || job.condition != "trained" || !has_seed(other.evaluate.seeds, job.seed)) continue;
      asked.push_back(job);
      asked.back().condition = kTransferred;
    }
    const TaskResult result = run_task(
        other, out / "transfer" / transfer.folder, options, [&](const std::string& line) { say("    " + line); },
        asked);
    Transfer shown = transfer;
    if (!result.scored.info.at("gate").at("valid").get<bool>()) {
      shown.tested_on += " (the target does not pass the gate there)";
    }
    for (GeneralisationFact& fact : transfer_facts(shown, result.scores)) facts.push_back(std::move(fact));
  }
  return facts;
}

// The losses as TaskResult has them.
std::map<std::string, double> validation_losses(const std::vector<TrainJob>& jobs,
                                                const std::vector<TrainedExplainer>& trained) {
  std::map<std::string, double> losses, seeds;
  for (const TrainJob& job : jobs) seeds[job.name] += job.condition == "trained" ? 1 : 0;
  for (size_t i = 0; i < trained.size(); ++i) {
    const TrainJob& job = jobs[i];
    if (job.condition == "trained") losses[job.name] += trained[i].validation_loss / seeds[job.name];
  }
  return losses;
}

}  // namespace

PreparedTask prepare_task(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                          const std::function<void(const std::string&)>& say) {
  PreparedTask task{make_data(recipe, out, say), {}, {}};
  say("2 explainers: trained to say the outcome in words");
  const FittedFolders projections = projection_steps(recipe, task.dataset, out, say);
  task.trials =
      search_settings(recipe, task.dataset, out / "dataset", projections, out / "search", options.workers, say);
  task.explainers = train_jobs(recipe, task.trials, projections, out);
  return task;
}

TaskResult run_task(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                    const std::function<void(const std::string&)>& say, const std::vector<TrainJob>& further) {
  const fs::path dataset_folder = out / "dataset";
  PreparedTask task = prepare_task(recipe, out, options, say);
  const Dataset& dataset = task.dataset;
  std::vector<TrainJob>& trained = task.explainers;
  TaskResult result;
  result.trials = task.trials;
  result.validation_loss =
      validation_losses(trained, train_side_by_side(trained, dataset, dataset_folder, options.workers, "train", say));

  trained.insert(trained.end(), further.begin(), further.end());
  say("3 answers: each explainer and each floor on the test split");
  const std::vector<AnswerJob> jobs = answer_jobs(recipe, trained);
  answer_side_by_side(jobs, dataset_folder, out, options.workers);

  result.notes = demonstration_notes(jobs, out);
  for (const ExplainerEntry& entry : recipe.explainers) {
    if (recipe.kind != "ablation" || !recipe.evaluate.simulate || can_simulate(recipe, entry.model)) continue;
    result.notes.emplace_back(entry.name, "does not run the prompts itself: it has no chat template");
  }
  for (const auto& [row, note] : result.notes) say(fmt::format("  {}: {}", row, note));

  say("4 scores and report");
  result.scored = limited(dataset, recipe.evaluate.limit);
  if (recipe.kind == "features") result.features = feature_scorer(recipe, result.scored, dataset_folder);
  result.rows = collect_rows(recipe, jobs, result.scored, result.features.get(), out);
  std::vector<RunInput> inputs{{"dataset", dataset_folder}};
  for (const AnswerJob& job : jobs) inputs.push_back({job.explainer + " " + job.condition, answer_folder(out, job)});
  result.scores = evaluate_step(result.scored, result.rows, recipe.json.at("evaluate"), inputs, out / "scores",
                                result.features.get());
  result.comparisons = load_comparisons(out / "scores" / "comparisons.json");
  if (recipe.simulator) say("5 a second simulator: a language model that reads descriptions");
  result.simulated = simulator_steps(recipe, result.scored, result.rows, out);
  if (recipe.kind == "ablation") {
    result.tables = self_consistency_tables(trained, result.scored, dataset_folder, out);
    result.transfers = transfer_steps(recipe, trained, result.trials, out, options, say);
  }
  result.findings = findings_of({recipe, result, trained, dataset_folder, out, options.workers, say});
  return result;
}

std::vector<ReportInput> recipe_parts(const std::vector<Recipe>& recipes, const fs::path& out,
                                      const RunOptions& options, const std::function<void(const std::string&)>& say) {
  std::set<std::string> kinds;
  for (const Recipe& recipe : recipes) {
    if (!kinds.insert(recipe.kind).second) {
      fail_usage("run", fmt::format("two recipes of the kind {}", recipe.kind), "run them into folders of their own");
    }
  }
  std::vector<ReportInput> parts;
  for (const Recipe& recipe : recipes) {
    if (recipes.size() > 1) say(fmt::format("{}{}", parts.empty() ? "" : "\n", recipe.title));
    const TaskResult task = run_task(recipe, recipes.size() > 1 ? out / recipe.kind : out, options, say);
    parts.push_back(report_of(recipe, task, options.command));
  }
  return parts;
}

RunResult write_run(const std::vector<ReportInput>& parts, const fs::path& out, const RunOptions& options) {
  RunResult result;
  for (const ReportInput& part : parts) {
    result.scores.insert(result.scores.end(), part.scores.begin(), part.scores.end());
  }
  write_report(parts, {options.title, options.question, options.command}, out / "report");
  result.page = out / "report" / "report.html";
  return result;
}

RunResult run_recipes(const std::vector<Recipe>& recipes, const fs::path& out, const RunOptions& options,
                      const std::function<void(const std::string&)>& say) {
  return write_run(recipe_parts(recipes, out, options, say), out, options);
}

}  // namespace introspect
