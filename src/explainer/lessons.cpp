#include "explainer/lessons.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <numeric>

#include <ATen/Functions.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// The order of the examples in epoch `epoch`, the same whenever it is asked for: resuming needs nothing else.
std::vector<size_t> epoch_order(size_t count, uint64_t seed, size_t lesson, int64_t epoch) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  Random random(seed, lesson == 0 ? fmt::format("epoch {}", epoch) : fmt::format("epoch {} of {}", epoch, lesson));
  random.shuffle(order);
  return order;
}

void check_lengths(const Explainer& explainer, const Learnt& lesson) {
  const int64_t limit = explainer.model.config.max_positions;
  for (const std::vector<const Example*>* split : {&lesson.train, &lesson.validation}) {
    for (const Example* example : *split) {
      for (size_t index = 0; index < templates_for(lesson.style(), *example).size(); ++index) {
        const Question question = make_question(explainer.tokenizer, explainer.slot, lesson.style(), *example, index);
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
void check_projections(Explainer& explainer, int64_t width, const std::vector<int64_t>& layers,
                       const fs::path& folder) {
  Projections wanted;
  for (const int64_t layer : layers) {
    const auto found = explainer.projections.find(layer);
    if (found == explainer.projections.end()) {
      fail("train",
           fmt::format("no projection of layer {}, which the data set asks about ({})", layer, folder.string()));
    }
    const at::Tensor& map = found->second;
    if (map.size(0) != explainer.model.config.d_model || map.size(1) != width) {
      fail("train", fmt::format("projection of layer {}: got [{}, {}], expected [{}, {}] ({})", layer, map.size(0),
                                map.size(1), explainer.model.config.d_model, width, folder.string()));
    }
    wanted[layer] = map;
  }
  explainer.projections = std::move(wanted);
}

}  // namespace

std::vector<ExplainerConfig> configs_of(const std::vector<Lesson>& lessons) {
  std::vector<ExplainerConfig> configs;
  for (const Lesson& lesson : lessons) {
    const ExplainerConfig& config = lesson.training.explainer;
    const auto found = std::find_if(configs.begin(), configs.end(),
                                    [&](const ExplainerConfig& each) { return each.task == config.task; });
    if (found == configs.end()) {
      configs.push_back(config);
    } else if (explainer_config_to_json(*found) != explainer_config_to_json(config)) {
      fail_usage("train", fmt::format("two data sets of the task {} are asked differently", config.task),
                 "give one recipe a task");
    }
  }
  return configs;
}

std::vector<Learnt> prepare_lessons(const Explainer& explainer, const std::vector<Lesson>& lessons, uint64_t seed) {
  std::vector<Learnt> list;
  for (const Lesson& lesson : lessons) {
    const ExplainerTraining& t = lesson.training;
    Learnt learnt;
    learnt.lesson = lesson;
    while (explainer.config_of(learnt.task).task != t.explainer.task) ++learnt.task;
    learnt.train = learnt_examples(*lesson.dataset, t);
    learnt.validation = lesson.dataset->of(Split::validation);
    std::erase_if(learnt.validation, [&](const Example* example) { return !t.takes(*example); });
    if (learnt.train.empty()) {
      fail("train", lessons.size() == 1 ? std::string("the data set has no examples to train on")
                                        : fmt::format("no examples to train on ({})", lesson.folder.string()));
    }
    if (std::ssize(learnt.validation) > t.validation_examples) learnt.validation.resize(t.validation_examples);
    learnt.train_vectors = condition_vectors(*lesson.dataset, learnt.train, t.vectors, seed);
    if (!learnt.validation.empty()) {
      learnt.validation_vectors = condition_vectors(*lesson.dataset, learnt.validation, t.vectors, seed);
    }
    learnt.layer_lists = layer_lists(*lesson.dataset);
    for (const Example* example : learnt.validation) {
      learnt.validation_questions.push_back(question_for_step(explainer, learnt, *example, seed, 0));
    }
    check_lengths(explainer, learnt);
    list.push_back(std::move(learnt));
  }
  return list;
}

void prepare_projections(Explainer& explainer, const std::vector<Learnt>& lessons, const ExplainerTraining& training) {
  std::vector<int64_t> layers;
  const Learnt* first = nullptr;  // with vectors
  int64_t width = 0;
  for (const Learnt& each : lessons) {
    const at::Tensor& vectors = each.lesson.dataset->vectors;
    if (!vectors.defined()) continue;
    if (!first) {
      first = &each;
      width = vectors.size(1);
    }
    const InjectionConfig &mine = each.lesson.training.explainer.injection,
                          &other = first->lesson.training.explainer.injection;
    if (vectors.size(1) != width || mine.projection != other.projection ||
        mine.train_projection != other.train_projection) {
      fail_usage("train",
                 fmt::format("vectors of widths {} and {}, projections {} and {}: several data sets need the same",
                             width, vectors.size(1), injection_to_json(other).dump(), injection_to_json(mine).dump()));
    }
    for (const Example* example : each.train) layers.push_back(example->layers.empty() ? 0 : example->layers.back());
  }
  const bool given = first ? wants_projections(first->lesson.training) : wants_projections(training);
  if (given) {
    if (training.projections.empty()) {
      fail_usage("train", "fitted projections are wanted and none are given",
                 "make them with 'introspect project' and give --projections FOLDER");
    }
    explainer.projections = load_projections(training.projections / "projections.safetensors");
    check_projections(explainer, width, layers, training.projections);
    return;
  }
  if (!training.projections.empty()) {
    fail_usage(
        "train",
        fmt::format("projections are given, and the settings do not use them ({})", training.projections.string()),
        "set [train.explainer.injection] projection = \"least_squares\" or \"procrustes\"");
  }
  if (!first) return;
  explainer.projections = make_projections(first->lesson.training.explainer.injection.projection, layers, width,
                                           explainer.model.config.d_model, training.seed);
}

Question question_for_step(const Explainer& explainer, const Learnt& lesson, const Example& example, uint64_t seed,
                           int64_t step) {
  Random random(seed, fmt::format("template {} {}", example.id, step));
  const size_t wording = random.below(1 << 20);
  const LayerCondition layers = lesson.lesson.training.layers;
  Example named;
  if (layers != LayerCondition::real) {
    named = example;
    named.layers = named_layers(example, layers, lesson.layer_lists, random.next());
  }
  Question question = make_question(explainer.tokenizer, explainer.slot, lesson.style(),
                                    layers == LayerCondition::real ? example : named, wording);
  question.layer = example.layers.empty() ? 0 : example.layers.back();  // names the projection, whatever is told
  question.task = lesson.task;
  return question;
}

LearningPlan plan_steps(const std::vector<Learnt>& lessons, int64_t steps, int64_t batch, uint64_t seed) {
  std::vector<double> weights;
  for (const Learnt& each : lessons) weights.push_back(each.lesson.weight);
  Random random(seed, "lessons");
  std::vector<int64_t> taken(lessons.size(), 0);
  std::vector<std::vector<size_t>> orders(lessons.size());
  LearningPlan plan(static_cast<size_t>(steps));
  for (auto& step : plan) {
    for (int64_t k = 0; k < batch; ++k) {
      const size_t lesson = lessons.size() > 1 ? random.weighted(weights) : 0;
      const auto count = static_cast<int64_t>(lessons[lesson].train.size());
      const int64_t place = taken[lesson]++;
      if (place % count == 0) orders[lesson] = epoch_order(lessons[lesson].train.size(), seed, lesson, place / count);
      step.emplace_back(lesson, orders[lesson][static_cast<size_t>(place % count)]);
    }
  }
  return plan;
}

}  // namespace introspect
