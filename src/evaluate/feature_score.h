// What an answer about a feature is worth when it is not the very words: what the words say the feature does against
// what it does.
#pragma once

#include "dataset/example.h"
#include "feature/contexts.h"
#include "feature/simulator.h"

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <ATen/core/Tensor.h>

namespace introspect {

struct ItemScore;

class FeatureScorer {
 public:
  // Reads the contexts of the data set's test examples (feature/feature_dataset.h); of each kind the first so many,
  // 0: all.
  FeatureScorer(const Dataset& dataset, const fs::path& folder, std::shared_ptr<const Simulator> simulator,
                int64_t contexts_of_each_kind = 0);

  // Sets parsed (the simulator can read the words), judged, simulated and published. Words that cannot be read score 0
  // on both simulator scores. Answers that come again are simulated once. May be called from several threads.
  void score(const Example& example, const std::string& answer, ItemScore& score) const;

  // Test examples whose feature does the same on every token of its contexts: no words could score, they count as 0.
  int64_t constant() const { return constant_; }

 private:
  struct Outcome {
    bool readable = false;
    double simulated = 0, published = 0;
  };
  Outcome simulate(const Example& example, const std::string& answer) const;
  int64_t contexts_row(const Example& example) const;
  FeatureContexts contexts_of(const Example& example) const;

  std::shared_ptr<const Simulator> simulator_;
  at::Tensor tokens_, activations_, kinds_;  // [examples, C, T], [examples, C, T], [examples, C]
  int64_t contexts_of_each_kind_ = 0, constant_ = 0;
  mutable std::mutex guard_;
  mutable std::map<std::pair<std::string, std::string>, Outcome> known_;
};

}  // namespace introspect
