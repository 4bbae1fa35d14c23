#include "train/fine_tune.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/progress.h"
#include "train/checkpoint.h"

#include <cmath>
#include <fstream>

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

void copy_values(const NamedTensors& from, const NamedTensors& to) {
  c10::NoGradGuard guard;
  for (size_t i = 0; i < from.size(); ++i) {
    at::Tensor target = to[i].second;
    target.copy_(from[i].second);
  }
}

NamedTensors cloned(const NamedTensors& tensors) {
  NamedTensors copies;
  for (const auto& [name, tensor] : tensors) copies.emplace_back(name, tensor.detach().clone());
  return copies;
}

// What a checkpoint holds beside the optimiser's moments.
struct Run {
  NamedTensors trained, best;
  int64_t step = 0, best_step = 0, since_best = 0;
  double loss = 0, best_validation = 0;

  void save(const fs::path& file, const Optimizer& optimizer, const FineTuningState& caller) const {
    NamedTensors tensors = optimizer.state();
    for (const auto& [name, tensor] : trained) tensors.emplace_back("weight." + name, tensor);
    Json state{{"step", step}, {"loss", loss}};
    if (caller.save) state["caller"] = caller.save();
    if (!best.empty()) {
      for (const auto& [name, tensor] : best) tensors.emplace_back("best." + name, tensor);
      state["best_step"] = best_step;
      state["best_validation"] = best_validation;
      state["since_best"] = since_best;
    }
    save_training_state(file, tensors, state);
  }

  void load(const fs::path& file, Optimizer& optimizer, const FineTuningState& caller) {
    const TrainingState state = load_training_state(file);
    const std::string label = file.string();
    state.copy_into(trained, "weight.");
    NamedTensors moments;
    for (const auto& [name, tensor] : state.tensors) {
      if (name.starts_with("first.") || name.starts_with("second.")) moments.emplace_back(name, tensor);
    }
    step = json_get<int64_t>(state.state, "step", label);
    loss = json_get<double>(state.state, "loss", label);
    optimizer.restore(step, moments);
    if (caller.restore) {
      if (!state.state.contains("caller")) fail("train", fmt::format("no 'caller' in the checkpoint ({})", label));
      caller.restore(state.state.at("caller"));
    }
    if (!state.state.contains("best_step")) return;
    best_step = json_get<int64_t>(state.state, "best_step", label);
    best_validation = json_get<double>(state.state, "best_validation", label);
    since_best = json_get<int64_t>(state.state, "since_best", label);
    best = cloned(trained);
    state.copy_into(best, "best.");
  }

  void take(double validation, bool lower_is_better) {
    if (!best.empty() && !(lower_is_better ? validation < best_validation : validation > best_validation)) {
      ++since_best;
      return;
    }
    best = cloned(trained);
    best_step = step;
    best_validation = validation;
    since_best = 0;
  }
};

}  // namespace

void check_fine_tuning(const FineTuning& s) {
  if (s.steps < 1 || s.checkpoint_every < 1 || s.validate_every < 0 || s.warm_up < 0 || s.patience < 0) {
    fail_usage("train",
               fmt::format("steps {}, checkpoint_every {}, validate_every {}, warm_up {}, patience {}: expected at "
                           "least 1, 1, 0, 0 and 0",
                           s.steps, s.checkpoint_every, s.validate_every, s.warm_up, s.patience));
  }
  if (!(s.learning_rate > 0) || !(s.muon_rate >= 0) || !(s.weight_decay >= 0) || !(s.clip_norm >= 0)) {
    fail_usage("train",
               fmt::format("learning_rate {}, muon_rate {}, weight_decay {}, clip_norm {}: expected above 0, and "
                           "at least 0 for the others",
                           s.learning_rate, s.muon_rate, s.weight_decay, s.clip_norm));
  }
  parse_schedule(s.schedule);
}

Json fine_tuning_to_json(const FineTuning& s) {
  return {{"steps", s.steps},         {"learning_rate", s.learning_rate},
          {"muon_rate", s.muon_rate}, {"weight_decay", s.weight_decay},
          {"clip_norm", s.clip_norm}, {"schedule", s.schedule},
          {"warm_up", s.warm_up},     {"validate_every", s.validate_every}};
}

std::vector<Trainable> model_trainables(Model& model, const FineTuning& settings) {
  std::vector<Trainable> list;
  for (auto& [name, tensor] : parameters(model)) {
    const bool matrix = tensor.dim() == 2;
    Trainable each{name, tensor, UpdateRule::adamw, settings.learning_rate, matrix ? settings.weight_decay : 0.0};
    if (matrix && settings.muon_rate > 0 && !name.ends_with("embed_tokens.weight") && name != "lm_head.weight") {
      each.rule = UpdateRule::muon;
      each.learning_rate = settings.muon_rate;
    }
    list.push_back(each);
  }
  return list;
}

FineTuned fine_tune(const fs::path& folder, bool resume, const std::vector<Trainable>& trainables,
                    const FineTuning& settings, const std::function<double(int64_t step)>& step,
                    const std::function<double()>& validate,
                    const std::function<void(const FineTuningProgress&)>& report, const FineTuningState& state) {
  check_fine_tuning(settings);
  Run run;
  for (const Trainable& each : trainables) {
    at::Tensor tensor = each.tensor;
    tensor.requires_grad_(true);
    run.trained.emplace_back(each.name, tensor);
  }
  Optimizer optimizer(trainables, {0.9, 0.999, 1e-8, 0.95, settings.clip_norm});
  const Schedule schedule{parse_schedule(settings.schedule), settings.warm_up, settings.steps, 0};
  const fs::path checkpoint = folder / "checkpoint" / "state.safetensors";
  if (resume && fs::exists(checkpoint)) run.load(checkpoint, optimizer, state);
  check_same_step(run.step, checkpoint);

  std::ofstream log;
  if (first_process()) log.open(folder / "log.jsonl", std::ios::app);
  bool stopped = false;
  while (run.step < settings.steps && !stopped) {
    const double loss = sum_over_processes(step(run.step));
    const double norm = optimizer.step(schedule.at(run.step));
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
      fail("train", fmt::format("the loss is {} and the gradient norm {} at step {}", loss, norm, run.step),
           "lower the learning rate; the last checkpoint is kept");
    }
    ++run.step;
    run.loss = run.loss == 0 ? loss : 0.9 * run.loss + 0.1 * loss;
    FineTuningProgress progress{run.step, settings.steps, run.loss, {}};
    const bool last = run.step == settings.steps;
    if (validate && (last || (settings.validate_every > 0 && run.step % settings.validate_every == 0))) {
      c10::NoGradGuard guard;
      const double value = sum_over_processes(first_process() ? validate() : 0.0);
      progress.validation = value;
      const char* name = settings.lower_is_better ? "validation_loss" : "validation";
      Json line{{"step", run.step}, {"loss", run.loss}, {name, value}};
      if (state.note) line.update(state.note());
      log << line.dump() << std::endl;
      run.take(value, settings.lower_is_better);
      stopped = settings.patience > 0 && run.since_best >= settings.patience;
    }
    report(progress);
    if (last || stopped) break;
    const bool interrupted = interrupted_together();
    if (interrupted || run.step % settings.checkpoint_every == 0) run.save(checkpoint, optimizer, state);
    if (interrupted) check_interrupt("train");
  }
  if (!run.best.empty()) copy_values(run.best, run.trained);
  for (const Trainable& each : trainables) {
    at::Tensor tensor = each.tensor;
    tensor.requires_grad_(false);
  }
  return {run.step, stopped, run.loss, run.best_step, run.best_validation};
}

}  // namespace introspect
