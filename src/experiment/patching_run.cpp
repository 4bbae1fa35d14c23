#include "experiment/patching_run.h"

#include "base/error.h"
#include "base/files.h"
#include "base/parallel.h"
#include "base/run_record.h"
#include "base/shared_progress.h"
#include "evaluate/floors.h"
#include "evaluate/scores.h"
#include "experiment/patching_report.h"
#include "experiment/search.h"
#include "experiment/train_jobs.h"
#include "model/model.h"
#include "train/corpus.h"

#include <algorithm>
#include <set>

#include <ATen/Parallel.h>

namespace introspect {

namespace {

bool takes_part(const Variant& variant, const std::string& name) {
  return variant.explainers.empty() ||
         std::find(variant.explainers.begin(), variant.explainers.end(), name) != variant.explainers.end();
}

bool has_seed(const Variant& variant, int64_t seed) {
  return variant.seeds.empty() || std::find(variant.seeds.begin(), variant.seeds.end(), seed) != variant.seeds.end();
}

// Where the least-squares projections of each explainer are, in the recipe's order; empty for those that want none.
std::vector<fs::path> projection_steps(const Recipe& recipe, const Dataset& dataset, const fs::path& out,
                                       const std::function<void(const std::string&)>& say) {
  std::set<int64_t> layers;
  for (const Example& example : dataset.examples) layers.insert(example.layers.empty() ? 0 : example.layers.back());
  std::vector<fs::path> folders(recipe.explainers.size());
  for (size_t e = 0; e < recipe.explainers.size(); ++e) {
    const ExplainerEntry& entry = recipe.explainers[e];
    const bool wanted = std::any_of(recipe.variants.begin(), recipe.variants.end(), [&](const Variant& variant) {
      return wants_projections(variant.training) && takes_part(variant, entry.name);
    });
    if (!wanted) continue;
    folders[e] = out / "projections" / entry.name;
    for (const ProjectionQuality& quality :
         project_step(recipe.target, entry.model, {layers.begin(), layers.end()}, *recipe.projection, folders[e])) {
      say(fmt::format("  {}: layer {} of the target to its layer {}, explained variance {:.3f}", entry.name,
                      quality.target_layer, quality.explainer_layer, quality.explained_variance));
    }
  }
  return folders;
}

// Seed by seed, so that a run cut short has all explainers of its first seeds.
std::vector<TrainJob> train_jobs(const Recipe& recipe, const std::vector<Trial>& trials,
                                 const std::vector<fs::path>& projections, const fs::path& out) {
  std::vector<TrainJob> jobs;
  for (int64_t seed : recipe.evaluate.seeds) {
    for (const Variant& variant : recipe.variants) {
      for (size_t e = 0; e < recipe.explainers.size(); ++e) {
        const ExplainerEntry& entry = recipe.explainers[e];
        if (!takes_part(variant, entry.name) || !has_seed(variant, seed)) continue;
        TrainJob job{entry.name,
                     variant.condition,
                     seed,
                     entry.model,
                     train_folder(out, entry.name, variant.condition, seed),
                     training_of(recipe, variant, chosen_changes(recipe, trials, entry.name))};
        job.training.seed = static_cast<uint64_t>(seed);
        if (wants_projections(job.training)) job.training.projections = projections[e];
        jobs.push_back(std::move(job));
      }
    }
  }
  return jobs;
}

std::string vector_condition_row(VectorCondition condition) {
  switch (condition) {
    case VectorCondition::zero:
      return "zero_vector";
    case VectorCondition::random:
      return "random_vector";
    case VectorCondition::shuffled:
      return "shuffled_vector";
    case VectorCondition::shuffled_in_cell:
      return "shuffled_in_cell";
    case VectorCondition::real:
      break;
  }
  return "trained";
}

std::vector<AnswerJob> answer_jobs(const Recipe& recipe, const std::vector<TrainJob>& trained) {
  AnswerOptions base;
  base.compute = recipe.evaluate.compute;
  base.limit = recipe.evaluate.limit;
  base.max_new_tokens = recipe.evaluate.max_new_tokens;
  std::vector<AnswerJob> jobs;
  for (const TrainJob& job : trained) {
    AnswerJob answer{job.name, job.condition, job.seed, job.folder, base, {}};
    // an explainer that was raised without vectors is asked without them
    answer.options.vectors = job.training.vectors;
    jobs.push_back(answer);
    if (job.name != recipe.explainers.front().name || job.condition != "trained") continue;
    for (VectorCondition condition : recipe.evaluate.vectors) {
      AnswerJob floor = answer;
      floor.condition = vector_condition_row(condition);
      floor.options.vectors = condition;
      floor.options.seed = static_cast<uint64_t>(job.seed);
      jobs.push_back(floor);
    }
  }
  const ExplainerEntry& self = recipe.explainers.front();
  AnswerJob untrained{self.name,  "untrained", recipe.evaluate.seeds.front(),
                      self.model, base,        recipe.variants.front().training.explainer};
  if (recipe.evaluate.untrained) jobs.push_back(untrained);
  if (recipe.evaluate.few_shot > 0) {
    untrained.condition = "few_shot";
    untrained.options.demonstrations = recipe.evaluate.few_shot;
    jobs.push_back(untrained);
  }
  return jobs;
}

fs::path answer_folder(const fs::path& out, const AnswerJob& job) {
  return out / "answers" / fmt::format("{}-{}-seed{}", job.explainer, job.condition, job.seed);
}

// Answer sets of one row, a seed each, and the floors that need no model.
std::vector<Row> collect_rows(const std::vector<AnswerJob>& jobs, const Dataset& dataset, const fs::path& out) {
  std::vector<Row> rows;
  for (const AnswerJob& job : jobs) {
    std::vector<Answer> answers = load_answers(answer_folder(out, job) / "answers.jsonl");
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
      return row.explainer == job.explainer && row.condition == job.condition;
    });
    if (found != rows.end()) {
      found->seeds.push_back(std::move(answers));
    } else {
      rows.push_back({job.explainer, job.condition, {std::move(answers)}});
    }
  }
  for (Row& floor : floor_rows(dataset)) rows.push_back(std::move(floor));
  return rows;
}

}  // namespace

fs::path train_folder(const fs::path& out, const std::string& name, const std::string& condition, int64_t seed) {
  return out / "explainers" / fmt::format("{}-{}-seed{}", name, condition, seed);
}

void make_dataset_step(const Recipe& recipe, const fs::path& folder) {
  RunRecord record(folder, "dataset patching", patching_settings_to_json(recipe.dataset),
                   {{"target", recipe.target}, {"records", recipe.records}});
  if (record.state() == StepState::complete) return;
  const Model model = load_model(recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(recipe.target);
  Dataset dataset = make_patching_dataset(model, tokenizer, read_facts(recipe.records), recipe.dataset, folder);
  dataset.info["target"] = recipe.target_name;
  save_dataset(dataset, folder);
  record.add("target_accuracy", dataset.info.at("target_accuracy").at("share"));
  record.complete();
}

std::vector<ProjectionQuality> project_step(const fs::path& target, const fs::path& explainer,
                                            const std::vector<int64_t>& layers, const PairedSettings& settings,
                                            const fs::path& folder) {
  Json resolved = paired_to_json(settings);
  resolved["layers"] = layers;
  std::vector<RunInput> inputs{{"target", target}, {"explainer", explainer}};
  for (RunInput& input : text_inputs(settings.text, settings.base)) inputs.push_back(std::move(input));
  RunRecord record(folder, "project", resolved, inputs);
  std::vector<ProjectionQuality> qualities;
  if (record.state() != StepState::complete) {
    const Model from = load_model(target), to = load_model(explainer);
    const Tokenizer from_tokenizer = Tokenizer::open(target), to_tokenizer = Tokenizer::open(explainer);
    Progress progress("project", settings.tokens, "tokens");
    const auto fitted = fit_projections({from, from_tokenizer}, {to, to_tokenizer}, layers, settings,
                                        [&](int64_t done) { progress.set(done); });
    progress.finish();
    Projections projections;
    Json list = Json::array();
    for (const FittedProjection& each : fitted) {
      projections[each.target_layer] = each.map;
      list.push_back(quality_to_json(each));
    }
    save_projections(projections, folder / "projections.safetensors");
    record.add("projections", list);
    record.complete();
  }
  const std::string label = (folder / "run.json").string();
  for (const Json& each : record.result("projections")) {
    qualities.push_back(parse_quality(each, label));
  }
  return qualities;
}

std::vector<Score> evaluate_step(const Dataset& dataset, const std::vector<Row>& rows, const Json& settings,
                                 const std::vector<RunInput>& inputs, const fs::path& folder) {
  RunRecord record(folder, "evaluate", settings, inputs, /*overwrite=*/true);
  if (record.state() != StepState::complete) {
    save_scores(score_rows(dataset, rows, ScoreOptions{}), folder / "scores.json");
    save_comparisons(compare_rows(dataset, rows, ScoreOptions{}), folder / "comparisons.json");
    record.complete();
  }
  return load_scores(folder / "scores.json");
}

void answer_step(const AnswerJob& job, const fs::path& dataset_folder, const fs::path& folder) {
  const AnswerOptions& o = job.options;
  Json settings{{"vectors", condition_name(o.vectors)},
                {"seed", o.seed},
                {"template", o.template_index},
                {"max_new_tokens", o.max_new_tokens},
                {"demonstrations", o.demonstrations},
                {"limit", o.limit},
                {"compute", o.compute}};
  if (job.untrained) settings["explainer"] = explainer_config_to_json(*job.untrained);
  RunRecord record(folder, "answer", settings, {{"explainer", job.model}, {"dataset", dataset_folder}});
  if (record.state() == StepState::complete) return;
  const Dataset dataset = load_dataset(dataset_folder);
  const Explainer explainer = job.untrained ? open_base(job.model, *job.untrained) : open_explainer(job.model);
  int64_t used = 0;
  save_answers(answer_questions(explainer, dataset, o, {}, &used), folder / "answers.jsonl");
  if (o.demonstrations > 0) record.add("demonstrations_used", used);
  record.complete();
}

RunResult run_patching(const Recipe& recipe, const fs::path& out, const RunOptions& options,
                       const std::function<void(const std::string&)>& say) {
  const fs::path dataset_folder = out / "dataset";
  say("1 data set: every patch of every prompt, then a balanced choice");
  make_dataset_step(recipe, dataset_folder);
  const Dataset dataset = load_dataset(dataset_folder);
  say(fmt::format("  {} train, {} validation, {} test examples; the target answers {:.1f}% of its prompts rightly",
                  dataset.of(Split::train).size(), dataset.of(Split::validation).size(), dataset.of(Split::test).size(),
                  100 * dataset.info.at("target_accuracy").at("share").get<double>()));

  say("2 explainers: trained to say in words what the patch does");
  const std::vector<fs::path> projections = projection_steps(recipe, dataset, out, say);
  const std::vector<Trial> trials =
      search_settings(recipe, dataset, dataset_folder, projections, out / "search", options.workers, say);
  const std::vector<TrainJob> trained = train_jobs(recipe, trials, projections, out);
  train_side_by_side(trained, dataset, dataset_folder, options.workers, "train", say);

  say("3 answers: each explainer and each floor on the test split");
  const std::vector<AnswerJob> jobs = answer_jobs(recipe, trained);
  SharedProgress progress("answer", std::ssize(jobs), "row");
  std::vector<std::function<void()>> work;
  // the untrained ones come first: they answer at length and without end
  for (auto each = jobs.rbegin(); each != jobs.rend(); ++each) {
    work.emplace_back([&, job = *each] {
      answer_step(job, dataset_folder, answer_folder(out, job));
      progress.advance(1, fmt::format("{} {} seed {}", job.explainer, job.condition, job.seed));
    });
  }
  run_parallel(work, options.workers);
  progress.finish();

  say("4 scores and report");
  Dataset scored = dataset;
  if (recipe.evaluate.limit > 0) {
    // floors are asked the same questions as the explainers
    std::vector<Example> kept;
    int64_t test = 0;
    for (const Example& example : dataset.examples) {
      if (example.split == Split::test && test++ >= recipe.evaluate.limit) continue;
      kept.push_back(example);
    }
    scored.examples = std::move(kept);
  }
  const std::vector<Row> rows = collect_rows(jobs, scored, out);
  std::vector<RunInput> inputs{{"dataset", dataset_folder}};
  for (const AnswerJob& job : jobs) inputs.push_back({job.explainer + " " + job.condition, answer_folder(out, job)});
  RunResult result;
  result.scores = evaluate_step(scored, rows, recipe.json.at("evaluate"), inputs, out / "scores");
  result.page =
      write_patching_report(recipe, trials, scored, rows, result.scores,
                            load_comparisons(out / "scores" / "comparisons.json"), options.command, out / "report");
  return result;
}

}  // namespace introspect
