#include "evaluate/feature_floors.h"

#include "base/error.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

namespace {

constexpr int64_t kPiece = 65536;

int64_t layer_of(const Example& example) {
  return example.layers.empty() ? -1 : example.layers.back();
}

at::Tensor vectors_of(const Dataset& dataset, const std::vector<const Example*>& examples, size_t begin, size_t end) {
  std::vector<int64_t> rows;
  for (size_t i = begin; i < end; ++i) {
    if (examples[i]->vector < 0) fail("features", fmt::format("example '{}' has no vector", examples[i]->id));
    rows.push_back(examples[i]->vector);
  }
  return dataset.vectors.index_select(0, at::tensor(rows, at::kLong));
}

// For each of `asked` the member of `train` with the largest product.
std::vector<const Example*> nearest(const Dataset& dataset, const std::vector<const Example*>& train,
                                    const std::vector<const Example*>& asked) {
  const at::Tensor wanted = vectors_of(dataset, asked, 0, asked.size());
  at::Tensor best = at::full({std::ssize(asked)}, -std::numeric_limits<float>::infinity());
  at::Tensor place = at::zeros({std::ssize(asked)}, at::kLong);
  for (size_t begin = 0; begin < train.size(); begin += kPiece) {
    const size_t end = std::min(begin + kPiece, train.size());
    const auto [values, places] = at::mm(wanted, vectors_of(dataset, train, begin, end).t()).max(1);
    const at::Tensor better = values > best;
    best = at::where(better, values, best);
    place = at::where(better, places + static_cast<int64_t>(begin), place);
  }
  std::vector<const Example*> found;
  for (int64_t i = 0; i < std::ssize(asked); ++i) found.push_back(train[place[i].item<int64_t>()]);
  return found;
}

}  // namespace

std::vector<Answer> nearest_neighbour(const Dataset& dataset, const std::vector<const Example*>& train, bool same_layer,
                                      Split split) {
  const std::vector<const Example*> asked = dataset.of(split);
  std::map<int64_t, std::vector<const Example*>> groups, known;  // by layer, or all under 0
  for (const Example* example : asked) groups[same_layer ? layer_of(*example) : 0].push_back(example);
  for (const Example* example : train) known[same_layer ? layer_of(*example) : 0].push_back(example);
  std::map<std::string, std::string> said;
  for (const auto& [layer, examples] : groups) {
    if (known[layer].empty()) {
      fail("features", same_layer ? fmt::format("no train feature of layer {} to be a neighbour", layer)
                                  : std::string("no train feature to be a neighbour"));
    }
    const std::vector<const Example*> found = nearest(dataset, known[layer], examples);
    for (size_t i = 0; i < examples.size(); ++i) said[examples[i]->id] = found[i]->answer;
  }
  std::vector<Answer> answers;
  for (const Example* example : asked) answers.push_back({example->id, said.at(example->id)});
  return answers;
}

std::vector<Answer> gold_answers(const Dataset& dataset, Split split) {
  std::vector<Answer> answers;
  for (const Example* example : dataset.of(split)) answers.push_back({example->id, example->answer});
  return answers;
}

std::vector<Answer> best_of(const Dataset& dataset, const std::vector<std::vector<Answer>>& answers,
                            const FeatureScorer& scorer, Split split) {
  const std::vector<const Example*> examples = dataset.of(split);
  std::vector<std::vector<ItemScore>> scores;
  std::vector<std::map<std::string, std::string>> texts;
  for (const std::vector<Answer>& each : answers) {
    scores.push_back(score_answers(examples, each, &scorer));
    auto& by_id = texts.emplace_back();
    for (const Answer& answer : each) by_id[answer.id] = answer.text;
  }
  std::vector<Answer> best;
  for (size_t i = 0; i < examples.size(); ++i) {
    size_t chosen = 0;
    for (size_t a = 1; a < answers.size(); ++a) {
      const auto rank = [&](size_t which) {
        const ItemScore& score = scores[which][i];
        return std::tuple(score.simulated, score.exact);
      };
      if (rank(a) > rank(chosen)) chosen = a;
    }
    best.push_back({examples[i]->id, texts[chosen].at(examples[i]->id)});
  }
  return best;
}

}  // namespace introspect
