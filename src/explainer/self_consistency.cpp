#include "explainer/self_consistency.h"

#include "base/error.h"
#include "explainer/simulation.h"
#include "model/forward.h"
#include "procedure/ablation.h"
#include "procedure/saved_chunks.h"

#include <algorithm>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::vector<Example> copies(std::vector<const Example*>& examples) {
  std::vector<Example> list;
  for (const Example* example : examples) list.push_back(*example);
  for (size_t i = 0; i < list.size(); ++i) examples[i] = &list[i];  // the buffer moves with the vector
  return list;
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

Json drift_to_json(const Drift& drift) {
  return {{"step", drift.step},
          {"prompts", drift.prompts},
          {"labels_changed", drift.labels_changed},
          {"right_without_hint", drift.right_without},
          {"wrong_hints", drift.wrong},
          {"wrong_hints_followed", drift.wrong_followed},
          {"kl_from_start", drift.kl}};
}

Drift parse_drift(const Json& json, const std::string& label) {
  return {json_get<int64_t>(json, "step", label),
          json_get<int64_t>(json, "prompts", label),
          json_get<int64_t>(json, "wrong_hints", label),
          json_get<double>(json, "labels_changed", label),
          json_get<double>(json, "right_without_hint", label),
          json_get<double>(json, "wrong_hints_followed", label),
          json_get<double>(json, "kl_from_start", label)};
}

MovingTarget::MovingTarget(const Explainer& start, Learnt& lesson, size_t lesson_number,
                           const SelfConsistency& settings, uint64_t seed)
    : lesson_(lesson), lesson_number_(lesson_number), settings_(settings), seed_(seed) {
  const Dataset& dataset = *lesson.lesson.dataset;
  const ChoicePrompts prompts = ablation_prompts(dataset, start.tokenizer);  // throws for another task
  if (settings.relabel && dataset.info.at("target_fingerprint") != model_fingerprint(start.model)) {
    fail_usage("train", "self_consistency: the explainer is not the target of the data set",
               "it can only relabel its own behaviour; relabel = false measures how far it drifts");
  }
  train_ = copies(lesson_.train);
  validation_ = copies(lesson_.validation);
  watched_ = dataset.of(Split::validation);
  if (watched_.empty()) watched_ = dataset.of(Split::train);
  if (std::ssize(watched_) > settings.prompts) watched_.resize(static_cast<size_t>(settings.prompts));
  for (const Example* example : watched_) {
    prompts_.push_back(start.tokenizer.encode(ablation_prompt(prompts, *example).text, prompts.add_special()));
  }
  start_ = log_probabilities(start);
  measure(start, 0);
}

at::Tensor MovingTarget::log_probabilities(const Explainer& explainer) const {
  c10::NoGradGuard guard;
  std::vector<at::Tensor> parts;
  constexpr size_t group = 64;
  for (size_t first = 0; first < prompts_.size(); first += group) {
    const size_t last = std::min(first + group, prompts_.size());
    const std::vector<std::vector<int64_t>> some(prompts_.begin() + static_cast<std::ptrdiff_t>(first),
                                                 prompts_.begin() + static_cast<std::ptrdiff_t>(last));
    const Packed packed = pack(some);
    std::vector<int64_t> rows;
    for (int64_t s = 0; s < packed.sequences(); ++s) rows.push_back(packed.starts[s + 1] - 1);
    ForwardOptions options;
    options.logits_at = at::tensor(rows, at::kLong);
    parts.push_back(at::log_softmax(forward(explainer.model, packed, options).logits.to(at::kFloat), 1));
  }
  return at::cat(parts);
}

const Drift& MovingTarget::measure(const Explainer& explainer, int64_t step) {
  c10::NoGradGuard guard;
  const std::vector<OwnAnswers> own =
      own_answers(explainer.model, explainer.tokenizer, *lesson_.lesson.dataset, watched_);
  Drift drift;
  drift.step = step;
  int64_t changed = 0, right = 0, followed = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    if (!own[i].asked) continue;
    const Example& example = *watched_[i];
    const auto is = [&](const std::string& said, const char* what) {
      return said == bracket_answer(example.attributes.at(what));
    };
    ++drift.prompts;
    changed += with_own_answers(example, own[i]).answer != example.answer;
    right += is(own[i].after, "right");
    if (example.attributes.at("hint_right") == "yes") continue;
    ++drift.wrong;
    followed += is(own[i].before, "hint");
  }
  drift.labels_changed = share(changed, drift.prompts);
  drift.right_without = share(right, drift.prompts);
  drift.wrong_followed = share(followed, drift.wrong);
  drift.kl = (start_.exp() * (start_ - log_probabilities(explainer))).sum(1).mean().item<double>();
  drift_.push_back(drift);
  return drift_.back();
}

void MovingTarget::relabel(const Explainer& explainer, const std::vector<Example*>& examples) {
  const std::vector<OwnAnswers> own =
      own_answers(explainer.model, explainer.tokenizer, *lesson_.lesson.dataset, {examples.begin(), examples.end()});
  for (size_t i = 0; i < examples.size(); ++i) *examples[i] = with_own_answers(*examples[i], own[i]);
}

void MovingTarget::refresh_validation(const Explainer& explainer) {
  lesson_.validation_questions.clear();
  for (const Example& example : validation_) {
    lesson_.validation_questions.push_back(question_for_step(explainer, lesson_, example, seed_, 0));
  }
}

bool MovingTarget::before_step(const Explainer& explainer, const LearningPlan& plan, int64_t step) {
  if (step == 0 || step % settings_.every != 0) return false;
  measure(explainer, step);
  if (!settings_.relabel) return true;
  std::set<size_t> next;
  for (int64_t s = step; s < std::min<int64_t>(step + settings_.every, std::ssize(plan)); ++s) {
    for (const auto& [lesson, index] : plan[static_cast<size_t>(s)]) {
      if (lesson == lesson_number_) next.insert(index);
    }
  }
  std::vector<Example*> examples;
  for (const size_t index : next) examples.push_back(&train_[index]);
  for (Example& example : validation_) examples.push_back(&example);
  relabel(explainer, examples);
  refresh_validation(explainer);
  return true;
}

Json MovingTarget::state() const {
  Json state{{"drift", Json::array()}, {"answers", Json::object()}};
  for (const Drift& each : drift_) state["drift"].push_back(drift_to_json(each));
  for (const std::vector<Example>* list : {&train_, &validation_}) {
    for (const Example& example : *list) state["answers"][example.id] = {example.before, example.after};
  }
  return state;
}

void MovingTarget::restore(const Explainer& explainer, const Json& state) {
  drift_.clear();
  for (const Json& each : state.at("drift")) drift_.push_back(parse_drift(each, "checkpoint"));
  for (std::vector<Example>* list : {&train_, &validation_}) {
    for (Example& example : *list) {
      const Json& kept = state.at("answers").at(example.id);
      example = with_own_answers(example, {true, kept.at(0).get<std::string>(), kept.at(1).get<std::string>()});
    }
  }
  refresh_validation(explainer);
}

}  // namespace introspect
