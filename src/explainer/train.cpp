#include "explainer/train.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "explainer/batch.h"
#include "explainer/lessons.h"
#include "explainer/self_consistency.h"
#include "model/names.h"
#include "model/weight_type.h"
#include "train/corpus.h"
#include "train/fine_tune.h"
#include "train/rate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <fstream>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

using Clock = std::chrono::steady_clock;

// Every tensor that training changes, with the rule that changes it.
std::vector<Trainable> trainables_of(Explainer& explainer, const std::vector<Learnt>& lessons,
                                     const ExplainerTraining& t) {
  std::vector<Trainable> list;
  const auto add = [&](const std::string& name, const at::Tensor& tensor, bool matrix) {
    Trainable each{name, tensor, UpdateRule::adamw, t.learning_rate, tensor.dim() == 2 ? t.weight_decay : 0.0};
    if (matrix && t.muon_rate > 0) {
      each.rule = UpdateRule::muon;
      each.learning_rate = t.muon_rate;
    }
    list.push_back(each);
  };
  if (t.method == TrainMethod::full) {
    for (auto& [name, tensor] : parameters(explainer.model)) {
      add(name, tensor, tensor.dim() == 2 && !name.ends_with("embed_tokens.weight") && name != "lm_head.weight");
    }
  } else if (t.method == TrainMethod::lora) {
    for (auto& [name, tensor] : lora_parameters(explainer.model)) add(name, tensor, false);
  }
  const bool learns = std::any_of(lessons.begin(), lessons.end(), [](const Learnt& each) {
    return each.lesson.dataset->vectors.defined() && each.lesson.training.explainer.injection.train_projection;
  });
  if (learns) {
    for (auto& [layer, map] : explainer.projections) {
      add(fmt::format("projection.{}", layer), map, false);
      list.back().may_rest = true;  // a batch need not hold every layer
    }
  }
  return list;
}

// One run in progress.
struct Run {
  Explainer explainer;
  const ExplainerTraining& training;
  std::vector<Learnt> lessons;
  LearningPlan plan;
  at::ScalarType compute = at::kFloat;
  std::optional<Mixture> replay;
  int64_t answer_tokens = 0;  // learnt so far
  std::optional<MovingTarget> moving;

  bool can_validate() const {
    return std::any_of(lessons.begin(), lessons.end(),
                       [](const Learnt& each) { return !each.validation_questions.empty(); });
  }
};

// The vectors of questions, a row each; of one that has none a row of zeros. Undefined if none has any.
at::Tensor stacked(const std::vector<at::Tensor>& vectors) {
  const auto some = std::find_if(vectors.begin(), vectors.end(), [](const at::Tensor& each) { return each.defined(); });
  if (some == vectors.end()) return {};
  std::vector<at::Tensor> rows;
  for (const at::Tensor& each : vectors) rows.push_back(each.defined() ? each : at::zeros_like(*some));
  return at::stack(rows);
}

// Adds the gradients of this process's share of a step; returns its part of the mean loss over the answer tokens.
double run_step(Run& run, int64_t step) {
  const ExplainerTraining& t = run.training;
  std::vector<Question> questions;
  std::vector<at::Tensor> vectors;
  int64_t tokens = 0;
  for (const auto& [which, index] : run.plan[static_cast<size_t>(step)]) {
    const Learnt& lesson = run.lessons[which];
    questions.push_back(question_for_step(run.explainer, lesson, *lesson.train[index], t.seed, step));
    vectors.push_back(lesson.train_vectors.defined() ? lesson.train_vectors[static_cast<int64_t>(index)]
                                                     : at::Tensor());
    tokens += std::ssize(questions.back().tokens) + std::ssize(questions.back().answer);
  }
  std::vector<Document> replay;
  if (run.replay) {
    replay = run.replay->next(std::max<int64_t>(
        1, static_cast<int64_t>(static_cast<double>(tokens) * t.replay_share / (1 - t.replay_share))));
  }
  const ExplainerBatch batch = make_batch(run.explainer, questions, stacked(vectors), replay, current_world());
  run.answer_tokens += batch.answer_tokens;
  if (batch.packed.input.size() == 0) return 0;  // fewer questions than processes
  ForwardOptions options;
  options.compute = run.compute;
  options.activation_checkpointing = t.activation_checkpointing;
  options.training = t.method == TrainMethod::lora && t.lora.dropout > 0;
  options.dropout_seed =
      t.seed * 1000003 + static_cast<uint64_t>(step) + (static_cast<uint64_t>(current_world().rank) << 40);
  BatchLoss loss = batch_loss(run.explainer, batch, options);
  loss.total.backward();
  return loss.answers;
}

double validation_loss(const Run& run, const Learnt& lesson) {
  double sum = 0;
  int64_t tokens = 0;
  constexpr size_t group = 32;
  for (size_t first = 0; first < lesson.validation_questions.size(); first += group) {
    const size_t last = std::min(first + group, lesson.validation_questions.size());
    const std::vector<Question> questions(lesson.validation_questions.begin() + static_cast<int64_t>(first),
                                          lesson.validation_questions.begin() + static_cast<int64_t>(last));
    at::Tensor vectors;
    if (lesson.validation_vectors.defined()) {
      vectors = lesson.validation_vectors.slice(0, static_cast<int64_t>(first), static_cast<int64_t>(last));
    }
    const ExplainerBatch batch = make_batch(run.explainer, questions, vectors, {});
    ForwardOptions options;
    options.compute = run.compute;
    sum += batch_loss(run.explainer, batch, options).answers * static_cast<double>(batch.answer_tokens);
    tokens += batch.answer_tokens;
  }
  return tokens > 0 ? sum / static_cast<double>(tokens) : 0;
}

// The mean over the lessons by their weights; each lesson keeps its own.
double validation_loss(Run& run) {
  double sum = 0, weights = 0;
  for (Learnt& lesson : run.lessons) {
    if (lesson.validation_questions.empty()) continue;
    lesson.validation_loss = validation_loss(run, lesson);
    sum += lesson.lesson.weight * lesson.validation_loss;
    weights += lesson.lesson.weight;
  }
  return sum / weights;
}

Run prepare(const fs::path& base_model, const std::vector<Lesson>& lessons, const ExplainerTraining& t) {
  std::vector<ExplainerConfig> configs = configs_of(lessons);
  const ExplainerConfig first = configs.front();
  configs.erase(configs.begin());
  LoadOptions load;
  load.dtype = parse_weight_type(t.weights);
  load.mapped = t.method != TrainMethod::full;  // nobody writes to the weights then
  Run run{open_base(base_model, first, load, configs), t, {}, {}, choose_compute(t.compute), {}, 0, {}};
  run.lessons = prepare_lessons(run.explainer, lessons, t.seed);
  prepare_projections(run.explainer, run.lessons, t);
  if (t.method == TrainMethod::lora) add_lora(run.explainer.model, t.lora, t.seed);
  if (t.replay_share > 0) {
    run.replay.emplace(t.replay_text, run.explainer.tokenizer, int64_t{128}, t.replay_base, t.seed);
  }
  return run;
}

// Of several lessons the loss of each, for the log.
Json validation_note(const Run& run) {
  Json note = Json::object();
  if (run.lessons.size() < 2) return note;
  for (const Learnt& lesson : run.lessons) note["validation_losses"].push_back(lesson.validation_loss);
  return note;
}

// What is fine-tuned, apart from the number of steps.
FineTuning fine_tuning_of(const ExplainerTraining& t) {
  FineTuning settings;
  settings.learning_rate = t.learning_rate;
  settings.muon_rate = t.muon_rate;
  settings.weight_decay = t.weight_decay;
  settings.clip_norm = t.clip_norm;
  settings.schedule = t.schedule;
  settings.warm_up = t.warm_up;
  settings.validate_every = t.validate_every;
  settings.checkpoint_every = t.checkpoint_every;
  settings.patience = t.patience;
  settings.lower_is_better = true;
  return settings;
}

// For run.json: of several lessons what is each one's own is listed by lesson.
Json settings_json(const std::vector<Lesson>& lessons, const ExplainerTraining& training) {
  Json json = training_to_json(training);
  if (lessons.size() == 1) return json;
  const std::vector<const char*> own = {"explainer",          "vectors", "layers", "label_noise", "only", "examples",
                                        "validation_examples"};
  for (const char* key : own) json.erase(key);
  for (const Lesson& lesson : lessons) {
    const Json all = training_to_json(lesson.training);
    Json each{{"weight", lesson.weight}};
    for (const char* key : own) {
      if (all.contains(key)) each[key] = all.at(key);
    }
    json["lessons"].push_back(std::move(each));
  }
  return json;
}

}  // namespace

Dataset taught_dataset(const Dataset& dataset, const ExplainerTraining& training) {
  return training.label_noise ? with_label_noise(dataset, *training.label_noise) : dataset;
}

std::vector<const Example*> learnt_examples(const Dataset& dataset, const ExplainerTraining& training) {
  std::vector<const Example*> examples = dataset.of(Split::train);
  std::erase_if(examples, [&](const Example* example) { return !training.takes(*example); });
  if (training.examples > 0 && std::ssize(examples) > training.examples) {
    Random random(0, "examples");
    random.shuffle(examples);
    examples.resize(training.examples);
  }
  return examples;
}

int64_t steps_of(const ExplainerTraining& training, int64_t examples) {
  if (training.steps > 0) return training.steps;
  const double steps = training.epochs * static_cast<double>(examples) / static_cast<double>(training.batch);
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(steps)));
}

TrainedExplainer train_explainer(const fs::path& base_model, const Dataset& dataset, const fs::path& dataset_folder,
                                 const ExplainerTraining& training, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report) {
  return train_explainer(base_model, {{dataset_folder, &dataset, training}}, training, folder, report);
}

TrainedExplainer train_explainer(const fs::path& base_model, const std::vector<Lesson>& lessons,
                                 const ExplainerTraining& t, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report) {
  TrainedExplainer result;
  std::vector<RunInput> inputs{{"base_model", base_model}};
  for (size_t i = 0; i < lessons.size(); ++i) {
    inputs.push_back({i == 0 ? "dataset" : fmt::format("dataset {}", i + 1), lessons[i].folder});
  }
  if (!t.projections.empty()) inputs.push_back({"projections", t.projections / "projections.safetensors"});
  if (t.replay_share > 0) {
    for (RunInput& input : text_inputs(t.replay_text, t.replay_base)) inputs.push_back(std::move(input));
  }
  RunRecord record(folder, "train", settings_json(lessons, t), inputs);
  if (record.state() == StepState::complete) {
    const std::string label = (folder / "run.json").string();
    const Json made = record.result("result");
    result.was_complete = true;
    result.steps = json_get<int64_t>(made, "steps", label);
    result.answer_tokens = json_get<int64_t>(made, "answer_tokens", label);
    // JSON has no infinity, which is the loss of a data set without validation examples
    const Json& loss = made.at("validation_loss");
    result.validation_loss = loss.is_number() ? loss.get<double>() : std::numeric_limits<double>::infinity();
    if (t.self_consistency) {
      for (const Json& each : record.result("drift")) result.drift.push_back(parse_drift(each, label));
    }
    return result;
  }
  std::deque<Dataset> noisy;  // where wrong labels are wanted, they stand in copies
  std::vector<Lesson> taught = lessons;
  for (Lesson& lesson : taught) {
    if (!lesson.training.label_noise) continue;
    lesson.dataset = &noisy.emplace_back(taught_dataset(*lesson.dataset, lesson.training));
  }
  Run run = prepare(base_model, taught, t);
  int64_t examples = 0;
  for (const Learnt& lesson : run.lessons) examples += std::ssize(lesson.train);
  FineTuning settings = fine_tuning_of(t);
  settings.steps = steps_of(t, examples);
  run.plan = plan_steps(run.lessons, settings.steps, t.batch, t.seed);
  for (size_t i = 0; i < run.lessons.size() && t.self_consistency; ++i) {
    if (run.lessons[i].lesson.dataset->task != "ablation") continue;
    run.moving.emplace(run.explainer, run.lessons[i], i, *t.self_consistency, t.seed);
    break;
  }
  if (t.self_consistency && !run.moving) {
    fail_usage("train", "self_consistency: expected a data set of input ablation");
  }
  const auto log_drift = [&] {
    if (!first_process()) return;
    std::ofstream(folder / "log.jsonl", std::ios::app) << drift_to_json(run.moving->drift().back()).dump() << '\n';
  };
  const FineTuningState state{[&] {
                                Json kept{{"answer_tokens", run.answer_tokens}};
                                if (run.replay) kept["replay"] = run.replay->state();
                                if (run.moving) kept["moving_target"] = run.moving->state();
                                return kept;
                              },
                              [&](const Json& kept) {
                                run.answer_tokens = kept.at("answer_tokens").get<int64_t>();
                                if (run.replay) run.replay->restore(kept.at("replay"));
                                if (run.moving) run.moving->restore(run.explainer, kept.at("moving_target"));
                              },
                              [&] { return validation_note(run); }};
  std::optional<Clock::time_point> start;
  int64_t before = 0;  // answer tokens learnt by an earlier call
  // of this call's steps but the first, which is slower: when that ended, and how long the others took
  std::optional<std::pair<Clock::time_point, int64_t>> first;
  double seconds_per_step = 0;
  const FineTuned tuned = fine_tune(
      folder, record.state() == StepState::resume, trainables_of(run.explainer, run.lessons, t), settings,
      [&](int64_t step) {
        if (!start) {
          start = Clock::now();
          before = run.answer_tokens;
        }
        if (run.moving && run.moving->before_step(run.explainer, run.plan, step)) log_drift();
        return run_step(run, step);
      },
      run.can_validate() ? [&] { return validation_loss(run); } : std::function<double()>(),
      [&](const FineTuningProgress& p) {
        const Clock::time_point now = Clock::now();
        const double seconds = std::chrono::duration<double>(now - *start).count();
        if (!first) first = {now, p.step};
        if (p.step > first->second) {
          seconds_per_step =
              std::chrono::duration<double>(now - first->first).count() / static_cast<double>(p.step - first->second);
        }
        result.answer_tokens_per_second = static_cast<double>(run.answer_tokens - before) / seconds;
        report({p.step, p.steps, p.loss, result.answer_tokens_per_second, p.validation});
      },
      state);
  if (run.moving) {  // the weights that are kept
    run.moving->measure(run.explainer, tuned.best_step > 0 ? tuned.best_step : tuned.steps);
    log_drift();
    for (const Drift& each : run.moving->drift()) result.drift.push_back(each);
  }
  if (first_process())
    save_explainer(run.explainer, t.method == TrainMethod::lora ? &t.lora : nullptr, base_model, folder, t.weights);
  result.steps = tuned.steps;
  result.answer_tokens = run.answer_tokens;
  result.validation_loss = run.can_validate() ? tuned.best_validation : std::numeric_limits<double>::infinity();
  if (run.moving) {
    Json list = Json::array();
    for (const Drift& each : result.drift) list.push_back(drift_to_json(each));
    record.add("drift", list);
  }
  record.add("result", {{"steps", tuned.steps},
                        {"stopped_early", tuned.stopped_early},
                        {"validation_loss", result.validation_loss},
                        {"answer_tokens", result.answer_tokens}});
  record.add("seconds_per_step", seconds_per_step);
  record.complete();
  if (first_process()) fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
