// What the words of an explainer are worth: for 'introspect explain'.
#pragma once

#include "feature/context_store.h"
#include "feature/directions.h"
#include "feature/scores.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct ScoreSources {
  std::string contexts;            // a context store of the features, or empty
  std::vector<std::string> texts;  // plain text on which other vectors are scored; may be empty
  std::string simulator;           // folder of a language model that simulates; empty: the library of sentences
  std::string target;              // the model whose directions they are
  std::vector<int64_t> layers;     // that are asked about
  bool wanted() const { return !contexts.empty() || !texts.empty(); }
};

// Opens the simulator, and the store or the text's states (feature/directions.h; the first 400 pieces of 64 tokens).
// Throws Error(usage) where the sources lack something.
class ExplanationScorer {
 public:
  explicit ExplanationScorer(const ScoreSources& sources);

  // A latent on the contexts of the store, or empty if there is no store.
  std::optional<DescriptionScores> of_feature(int64_t layer, int64_t latent, const std::string& words) const;
  // A vector [D] on the text: its products with the states, those below 0 taken as 0. Empty if there is no text.
  std::optional<DescriptionScores> of_vector(int64_t layer, const at::Tensor& vector, const std::string& words) const;

 private:
  std::unique_ptr<const Simulator> simulator_;
  std::optional<ContextStore> store_;
  std::unique_ptr<const PoolStates> pool_;
};

// "score 0.53 (as published 0.61)", or why there is none.
std::string score_words(const std::optional<DescriptionScores>& scores);

}  // namespace introspect
