#include "experiment/patching_run.h"

#include <map>
#include <mutex>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "evaluate/floors.h"
#include "evaluate/scores.h"
#include "base/parallel.h"
#include "experiment/patching_report.h"
#include "model/model.h"

namespace introspect {

namespace {

// One line of progress for several jobs that run at once.
class SharedProgress {
 public:
  SharedProgress(const std::string& title, int64_t total, const std::string& unit) : progress_(title, total, unit) {}
  void advance(int64_t count, const std::string& note) {
    const std::lock_guard<std::mutex> lock(mutex_);
    progress_.note(note);
    progress_.advance(count);
  }
  void finish() { progress_.finish(); }

 private:
  std::mutex mutex_;
  Progress progress_;
};

// An explainer to be trained.
struct TrainJob {
  std::string name, condition;
  int64_t seed;
  fs::path model, folder;
  ExplainerTraining training;
};

bool takes_part(const Variant& variant, const std::string& name) {
  return variant.explainers.empty() ||
         std::find(variant.explainers.begin(), variant.explainers.end(), name) != variant.explainers.end();
}

// Seed by seed, so that a run cut short has all explainers of its first seeds.
std::vector<TrainJob> train_jobs(const Recipe& recipe, const fs::path& out) {
  std::vector<TrainJob> jobs;
  for (int64_t seed : recipe.evaluate.seeds) {
    for (const Variant& variant : recipe.variants) {
      for (const ExplainerEntry& entry : recipe.explainers) {
        if (!takes_part(variant, entry.name)) continue;
        TrainJob job{entry.name, variant.condition, seed, entry.model,
                     train_folder(out, entry.name, variant.condition, seed), variant.training};
        job.training.seed = static_cast<uint64_t>(seed);
        jobs.push_back(std::move(job));
      }
    }
  }
  return jobs;
}

void train_step(const std::vector<TrainJob>& jobs, const Dataset& dataset, const fs::path& dataset_folder, int workers,
                const std::function<void(const std::string&)>& say) {
  const auto train_count = static_cast<double>(dataset.of(Split::train).size());
  int64_t steps = 0;
  for (const TrainJob& job : jobs) {
    steps += job.training.steps > 0 ? job.training.steps
                                    : static_cast<int64_t>(job.training.epochs * train_count /
                                                           static_cast<double>(job.training.batch));
  }
  SharedProgress progress("train", steps, "step");
  std::vector<std::function<void()>> work;
  std::mutex mutex;
  for (const TrainJob& job : jobs) {
    work.emplace_back([&, job] {
      int64_t last = 0;
      const TrainedExplainer trained =
          train_explainer(job.model, dataset, dataset_folder, job.training, job.folder, [&](const TrainingProgress& p) {
            progress.advance(p.step - last, fmt::format("{} {} seed {}: loss {:.3f}", job.name, job.condition, job.seed,
                                                        p.loss));
            last = p.step;
          });
      const std::lock_guard<std::mutex> lock(mutex);
      if (trained.was_complete) {
        say(fmt::format("  {} ({}), seed {}: complete, kept", job.name, job.condition, job.seed));
      } else {
        say(fmt::format("  {} ({}), seed {}: {} steps, validation loss {:.3f}, {:.0f} answer tokens/s", job.name,
                        job.condition, job.seed, trained.steps, trained.validation_loss,
                        trained.answer_tokens_per_second));
      }
    });
  }
  run_parallel(work, workers);
  progress.finish();
}

std::string vector_condition_row(VectorCondition condition) {
  switch (condition) {
    case VectorCondition::zero: return "zero_vector";
    case VectorCondition::random: return "random_vector";
    case VectorCondition::shuffled: return "shuffled_vector";
    case VectorCondition::shuffled_in_cell: return "shuffled_in_cell";
    case VectorCondition::real: break;
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
    AnswerJob answer{job.name, job.condition, job.seed, job.folder, false, base};
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
  AnswerJob untrained{self.name, "untrained", recipe.evaluate.seeds.front(), self.model, true, base};
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
  rows.push_back({"none", "always_changed", {always_changed_floor(dataset)}});
  rows.push_back({"none", "majority_relation", {majority_relation_floor(dataset)}});
  rows.push_back({"none", "majority_cell", {majority_cell_floor(dataset)}});
  rows.push_back({"none", "always_unchanged", {always_unchanged_floor(dataset)}});
  rows.push_back({"none", "most_frequent_answer", {most_frequent_floor(dataset)}});
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

void answer_step(const AnswerJob& job, const Recipe& recipe, const fs::path& dataset_folder, const fs::path& folder) {
  const AnswerOptions& o = job.options;
  Json settings{{"vectors", condition_name(o.vectors)}, {"seed", o.seed}, {"template", o.template_index},
                {"max_new_tokens", o.max_new_tokens}, {"demonstrations", o.demonstrations}, {"limit", o.limit},
                {"compute", o.compute}};
  if (job.untrained) settings["explainer"] = explainer_config_to_json(recipe.variants.front().training.explainer);
  RunRecord record(folder, "answer", settings, {{"explainer", job.model}, {"dataset", dataset_folder}});
  if (record.state() == StepState::complete) return;
  const Dataset dataset = load_dataset(dataset_folder);
  const Explainer explainer =
      job.untrained ? open_base(job.model, recipe.variants.front().training.explainer) : open_explainer(job.model);
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
  const std::vector<TrainJob> trained = train_jobs(recipe, out);
  train_step(trained, dataset, dataset_folder, options.workers, say);

  say("3 answers: each explainer and each floor on the test split");
  const std::vector<AnswerJob> jobs = answer_jobs(recipe, trained);
  SharedProgress progress("answer", std::ssize(jobs), "row");
  std::vector<std::function<void()>> work;
  for (const AnswerJob& job : jobs) {
    work.emplace_back([&, job] {
      answer_step(job, recipe, dataset_folder, answer_folder(out, job));
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
  RunRecord record(out / "scores", "evaluate", recipe.json.at("evaluate"), inputs, /*overwrite=*/true);
  RunResult result;
  if (record.state() != StepState::complete) {
    ScoreOptions score_options;
    save_scores(score_rows(scored, rows, score_options), out / "scores" / "scores.json");
    save_comparisons(compare_rows(scored, rows, score_options), out / "scores" / "comparisons.json");
    record.complete();
  }
  result.scores = load_scores(out / "scores" / "scores.json");
  result.page = write_patching_report(recipe, scored, rows, result.scores,
                                      load_comparisons(out / "scores" / "comparisons.json"), options.command,
                                      out / "report");
  return result;
}

}  // namespace introspect
