#include "explainer/train.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "explainer/batch.h"
#include "model/names.h"
#include "model/weight_type.h"
#include "train/corpus.h"
#include "train/fine_tune.h"
#include "train/rate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

using Clock = std::chrono::steady_clock;

// Every tensor that training changes, with the rule that changes it.
std::vector<Trainable> trainables_of(Explainer& explainer, const ExplainerTraining& t) {
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
  if (t.explainer.injection.train_projection) {
    for (auto& [layer, map] : explainer.projections) {
      add(fmt::format("projection.{}", layer), map, false);
      list.back().may_rest = true;  // a batch need not hold every layer
    }
  }
  return list;
}

// The order of the examples in epoch `epoch`, the same whenever it is asked for: resuming needs nothing else.
std::vector<size_t> epoch_order(size_t count, uint64_t seed, int64_t epoch) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  Random random(seed, fmt::format("epoch {}", epoch));
  random.shuffle(order);
  return order;
}

// One run in progress.
struct Run {
  Explainer explainer;
  const Dataset& dataset;
  const ExplainerTraining& training;
  std::vector<const Example*> train, validation;
  at::Tensor train_vectors, validation_vectors;  // a row an example
  std::vector<Question> validation_questions;
  at::ScalarType compute = at::kFloat;
  std::optional<Mixture> replay;
  int64_t answer_tokens = 0;  // learnt so far
};

Question question_for_step(const Run& run, const Example& example, int64_t step) {
  Random random(run.training.seed, fmt::format("template {} {}", example.id, step));
  return make_question(run.explainer.tokenizer, run.explainer.slot, run.training.explainer.style, example,
                       random.below(1 << 20));
}

// Examples of the step, walking through one epoch's order after another.
std::vector<size_t> examples_of_step(const Run& run, int64_t step) {
  const auto count = static_cast<int64_t>(run.train.size());
  std::vector<size_t> picked;
  int64_t epoch = -1;
  std::vector<size_t> order;
  for (int64_t k = step * run.training.batch; k < (step + 1) * run.training.batch; ++k) {
    if (k / count != epoch) {
      epoch = k / count;
      order = epoch_order(run.train.size(), run.training.seed, epoch);
    }
    picked.push_back(order[k % count]);
  }
  return picked;
}

// Adds the gradients of this process's share of a step; returns its part of the mean loss over the answer tokens.
double run_step(Run& run, int64_t step) {
  const ExplainerTraining& t = run.training;
  std::vector<Question> questions;
  std::vector<int64_t> rows;
  int64_t tokens = 0;
  for (size_t index : examples_of_step(run, step)) {
    questions.push_back(question_for_step(run, *run.train[index], step));
    rows.push_back(static_cast<int64_t>(index));
    tokens += std::ssize(questions.back().tokens) + std::ssize(questions.back().answer);
  }
  std::vector<Document> replay;
  if (run.replay) {
    replay = run.replay->next(std::max<int64_t>(
        1, static_cast<int64_t>(static_cast<double>(tokens) * t.replay_share / (1 - t.replay_share))));
  }
  at::Tensor vectors;
  if (run.train_vectors.defined()) vectors = run.train_vectors.index_select(0, at::tensor(rows, at::kLong));
  const ExplainerBatch batch = make_batch(run.explainer, questions, vectors, replay, current_world());
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

double validation_loss(Run& run) {
  double sum = 0;
  int64_t tokens = 0;
  constexpr size_t group = 32;
  for (size_t first = 0; first < run.validation_questions.size(); first += group) {
    const size_t last = std::min(first + group, run.validation_questions.size());
    const std::vector<Question> questions(run.validation_questions.begin() + static_cast<int64_t>(first),
                                          run.validation_questions.begin() + static_cast<int64_t>(last));
    at::Tensor vectors;
    if (run.validation_vectors.defined()) {
      vectors = run.validation_vectors.slice(0, static_cast<int64_t>(first), static_cast<int64_t>(last));
    }
    const ExplainerBatch batch = make_batch(run.explainer, questions, vectors, {});
    ForwardOptions options;
    options.compute = run.compute;
    sum += batch_loss(run.explainer, batch, options).answers * static_cast<double>(batch.answer_tokens);
    tokens += batch.answer_tokens;
  }
  return tokens > 0 ? sum / static_cast<double>(tokens) : 0;
}

void check_lengths(const Run& run) {
  const int64_t limit = run.explainer.model.config.max_positions;
  const QuestionStyle& style = run.training.explainer.style;
  for (const std::vector<const Example*>* split : {&run.train, &run.validation}) {
    for (const Example* example : *split) {
      for (size_t index = 0; index < templates_for(style, *example).size(); ++index) {
        const Question question = make_question(run.explainer.tokenizer, run.explainer.slot, style, *example, index);
        const int64_t length = std::ssize(question.tokens) + std::ssize(question.answer);
        if (length > limit) {
          fail("train",
               fmt::format("example '{}': {} tokens, the explainer has {} positions", example->id, length, limit));
        }
      }
    }
  }
}

// Given projections must be there for every layer and fit both widths; the others are dropped.
void check_projections(Explainer& explainer, const Dataset& dataset, const std::vector<int64_t>& layers,
                       const fs::path& folder) {
  Projections wanted;
  for (const int64_t layer : layers) {
    const auto found = explainer.projections.find(layer);
    if (found == explainer.projections.end()) {
      fail("train",
           fmt::format("no projection of layer {}, which the data set asks about ({})", layer, folder.string()));
    }
    const at::Tensor& map = found->second;
    if (map.size(0) != explainer.model.config.d_model || map.size(1) != dataset.vectors.size(1)) {
      fail("train", fmt::format("projection of layer {}: got [{}, {}], expected [{}, {}] ({})", layer, map.size(0),
                                map.size(1), explainer.model.config.d_model, dataset.vectors.size(1), folder.string()));
    }
    wanted[layer] = map;
  }
  explainer.projections = std::move(wanted);
}

Run prepare(const fs::path& base_model, const Dataset& dataset, const ExplainerTraining& t) {
  LoadOptions load;
  load.dtype = parse_weight_type(t.weights);
  load.mapped = t.method != TrainMethod::full;  // nobody writes to the weights then
  Run run{open_base(base_model, t.explainer, load),
          dataset,
          t,
          learnt_examples(dataset, t),
          dataset.of(Split::validation),
          {},
          {},
          {},
          choose_compute(t.compute),
          {}};
  std::erase_if(run.validation, [&](const Example* example) { return !t.takes(*example); });
  if (run.train.empty()) fail("train", "the data set has no examples to train on");
  if (std::ssize(run.validation) > t.validation_examples) run.validation.resize(t.validation_examples);
  std::vector<int64_t> layers;
  for (const Example* example : run.train) layers.push_back(example->layers.empty() ? 0 : example->layers.back());
  Explainer& explainer = run.explainer;
  if (wants_projections(t)) {
    if (t.projections.empty()) {
      fail_usage("train", "least-squares projections are wanted and none are given",
                 "make them with 'introspect project' and give --projections FOLDER");
    }
    explainer.projections = load_projections(t.projections / "projections.safetensors");
    check_projections(explainer, dataset, layers, t.projections);
  } else {
    if (!t.projections.empty()) {
      fail_usage("train",
                 fmt::format("projections are given, and the settings do not use them ({})", t.projections.string()),
                 "set [train.explainer.injection] projection = \"least_squares\"");
    }
    if (dataset.vectors.defined()) {
      explainer.projections = make_projections(explainer.config.injection.projection, layers, dataset.vectors.size(1),
                                               explainer.model.config.d_model, t.seed);
    }
  }
  if (t.method == TrainMethod::lora) add_lora(explainer.model, t.lora, t.seed);
  run.train_vectors = condition_vectors(dataset, run.train, t.vectors, t.seed);
  if (!run.validation.empty()) {
    run.validation_vectors = condition_vectors(dataset, run.validation, t.vectors, t.seed);
  }
  for (const Example* example : run.validation) run.validation_questions.push_back(question_for_step(run, *example, 0));
  check_lengths(run);
  if (t.replay_share > 0) {
    run.replay.emplace(t.replay_text, explainer.tokenizer, int64_t{128}, t.replay_base, t.seed);
  }
  return run;
}

}  // namespace

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

TrainedExplainer train_explainer(const fs::path& base_model, const Dataset& dataset, const fs::path& dataset_folder,
                                 const ExplainerTraining& t, const fs::path& folder,
                                 const std::function<void(const TrainingProgress&)>& report) {
  TrainedExplainer result;
  std::vector<RunInput> inputs{{"base_model", base_model}, {"dataset", dataset_folder}};
  if (!t.projections.empty()) inputs.push_back({"projections", t.projections / "projections.safetensors"});
  if (t.replay_share > 0) {
    for (RunInput& input : text_inputs(t.replay_text, t.replay_base)) inputs.push_back(std::move(input));
  }
  RunRecord record(folder, "train", training_to_json(t), inputs);
  if (record.state() == StepState::complete) {
    const std::string label = (folder / "run.json").string();
    const Json made = record.result("result");
    result.was_complete = true;
    result.steps = json_get<int64_t>(made, "steps", label);
    result.answer_tokens = json_get<int64_t>(made, "answer_tokens", label);
    if (made.at("validation_loss").is_number()) result.validation_loss = made.at("validation_loss").get<double>();
    return result;
  }
  Run run = prepare(base_model, dataset, t);
  FineTuning settings;
  settings.steps =
      t.steps > 0
          ? t.steps
          : std::max<int64_t>(1, static_cast<int64_t>(std::ceil(t.epochs * static_cast<double>(run.train.size()) /
                                                                static_cast<double>(t.batch))));
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
  const FineTuningState state{[&] {
                                Json kept{{"answer_tokens", run.answer_tokens}};
                                if (run.replay) kept["replay"] = run.replay->state();
                                return kept;
                              },
                              [&](const Json& kept) {
                                run.answer_tokens = kept.at("answer_tokens").get<int64_t>();
                                if (run.replay) run.replay->restore(kept.at("replay"));
                              }};
  std::optional<Clock::time_point> start;
  int64_t before = 0;  // answer tokens learnt by an earlier call
  const FineTuned tuned = fine_tune(
      folder, record.state() == StepState::resume, trainables_of(run.explainer, t), settings,
      [&](int64_t step) {
        if (!start) {
          start = Clock::now();
          before = run.answer_tokens;
        }
        return run_step(run, step);
      },
      run.validation_questions.empty() ? std::function<double()>() : [&] { return validation_loss(run); },
      [&](const FineTuningProgress& p) {
        const double seconds = std::chrono::duration<double>(Clock::now() - *start).count();
        result.answer_tokens_per_second = static_cast<double>(run.answer_tokens - before) / seconds;
        report({p.step, p.steps, p.loss, result.answer_tokens_per_second, p.validation});
      },
      state);
  if (first_process())
    save_explainer(run.explainer, t.method == TrainMethod::lora ? &t.lora : nullptr, base_model, folder, t.weights);
  result.steps = tuned.steps;
  result.answer_tokens = run.answer_tokens;
  result.validation_loss =
      run.validation_questions.empty() ? std::numeric_limits<double>::infinity() : tuned.best_validation;
  record.add("result", {{"steps", tuned.steps},
                        {"stopped_early", tuned.stopped_early},
                        {"validation_loss", result.validation_loss},
                        {"answer_tokens", result.answer_tokens}});
  record.complete();
  if (first_process()) fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
