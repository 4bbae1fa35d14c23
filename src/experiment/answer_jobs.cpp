#include "experiment/answer_jobs.h"

#include "base/parallel.h"
#include "base/shared_progress.h"

#include <fmt/format.h>

namespace introspect {

namespace {

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

// A trained explainer of input ablation that runs the prompts itself.
void add_simulations(const Recipe& recipe, const AnswerJob& trained, std::vector<AnswerJob>& jobs) {
  if (!recipe.evaluate.simulate || !can_simulate(recipe, trained.model)) return;
  for (const auto& [condition, simulation] :
       {std::pair{"self_simulation", Simulation::both}, {"hint_differs", Simulation::hint_differs}}) {
    AnswerJob job = trained;
    job.condition = condition;
    job.simulation = simulation;
    jobs.push_back(job);
  }
}

// Asked with another vector; and self told another layer.
void add_vector_floors(const Recipe& recipe, const AnswerJob& trained, std::vector<AnswerJob>& jobs) {
  const bool self = trained.explainer == recipe.explainers.front().name;
  if (!self && !recipe.evaluate.vectors_of_all) return;
  for (VectorCondition condition : recipe.evaluate.vectors) {
    AnswerJob floor = trained;
    floor.condition = vector_condition_row(condition);
    floor.options.vectors = condition;
    floor.options.seed = static_cast<uint64_t>(trained.seed);
    jobs.push_back(floor);
  }
  if (!self) return;
  for (LayerCondition condition : recipe.evaluate.layers) {
    AnswerJob floor = trained;
    floor.condition = "layer_" + condition_name(condition);
    floor.options.layers = condition;
    jobs.push_back(floor);
  }
}

// Models as they are: running both prompts, asked the question, asked with demonstrations, asked for a word's meaning.
void add_untrained(const Recipe& recipe, const AnswerOptions& base, std::vector<AnswerJob>& jobs) {
  const EvaluateSettings& evaluate = recipe.evaluate;
  const ExplainerConfig& asked = recipe.variants.front().training.explainer;
  const int64_t seed = evaluate.seeds.front();
  for (const ExplainerEntry& entry : recipe.explainers) {
    // of self that is right by definition, of another it says how alike the two behave
    if (recipe.kind != "ablation" || !evaluate.simulate || !can_simulate(recipe, entry.model)) continue;
    jobs.push_back({entry.name, "untrained_simulation", seed, entry.model, base, asked, Simulation::both});
  }
  const ExplainerEntry& self = recipe.explainers.front();
  AnswerJob untrained{self.name, "untrained", seed, self.model, base, asked, {}};
  if (evaluate.untrained) jobs.push_back(untrained);
  for (const int64_t count : evaluate.few_shot) {
    untrained.condition = evaluate.few_shot.size() == 1 ? "few_shot" : fmt::format("few_shot_{}", count);
    untrained.options.demonstrations = count;
    jobs.push_back(untrained);
  }
  for (const double scale : evaluate.selfie_scales) {
    jobs.push_back({self.name,
                    fmt::format("{}{:g}", kSelfiePrefix, scale),
                    seed,
                    self.model,
                    base,
                    selfie_config(asked, scale),
                    {}});
  }
}

}  // namespace

std::vector<AnswerJob> answer_jobs(const Recipe& recipe, const std::vector<TrainJob>& trained) {
  AnswerOptions base;
  base.compute = recipe.evaluate.compute;
  base.limit = recipe.evaluate.limit;
  base.max_new_tokens = recipe.evaluate.max_new_tokens;
  std::vector<AnswerJob> jobs;
  for (const TrainJob& job : trained) {
    AnswerJob answer{job.name, job.condition, job.seed, job.folder, base, {}, {}};
    // an explainer that was raised without vectors is asked without them, and one told wrong layers with such
    answer.options.vectors = job.training.vectors;
    answer.map = job.map;
    answer.options.layers = job.training.layers;
    jobs.push_back(answer);
    if (job.condition != "trained") continue;
    if (recipe.kind == "ablation") {
      add_simulations(recipe, answer, jobs);
    } else {
      add_vector_floors(recipe, answer, jobs);
    }
  }
  add_untrained(recipe, base, jobs);
  return jobs;
}

bool can_simulate(const Recipe& recipe, const fs::path& model) {
  return !recipe.ablation.style.chat || Tokenizer::open(model).chat_template().has_value();
}

void answer_side_by_side(const std::vector<AnswerJob>& jobs, const fs::path& dataset_folder, const fs::path& out,
                         int workers) {
  SharedProgress progress("answer", std::ssize(jobs), "row");
  std::vector<std::function<void()>> work;
  // the untrained ones come first: they answer at length and without end
  for (auto each = jobs.rbegin(); each != jobs.rend(); ++each) {
    work.emplace_back([&, job = *each] {
      answer_step(job, dataset_folder, answer_folder(out, job));
      progress.advance(1, fmt::format("{} {} seed {}", job.explainer, job.condition, job.seed));
    });
  }
  run_parallel(work, workers);
  progress.finish();
}

fs::path answer_folder(const fs::path& out, const AnswerJob& job) {
  return out / "answers" / fmt::format("{}-{}-seed{}", job.explainer, job.condition, job.seed);
}

}  // namespace introspect
