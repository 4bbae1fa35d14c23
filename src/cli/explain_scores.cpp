#include "cli/explain_scores.h"

#include "base/error.h"
#include "cli/home.h"
#include "feature/language_simulator.h"
#include "feature/symbolic_simulator.h"
#include "feature/text_pieces.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

namespace {

constexpr int64_t kPieces = 400, kLength = 64;

at::Tensor pool_of(const std::vector<std::string>& files, const Tokenizer& tokenizer) {
  const auto pieces = file_pieces({files.begin(), files.end()}, tokenizer, kLength);
  const at::Tensor pool = at::full({kPieces, kLength}, -1, at::kInt);
  for (int64_t i = 0; i < kPieces; ++i) {
    const std::optional<Piece> piece = pieces->next();
    if (!piece) return pool.slice(0, 0, i);
    std::copy(piece->tokens.begin(), piece->tokens.end(), pool.data_ptr<int>() + i * kLength);
  }
  return pool;
}

std::unique_ptr<const Simulator> simulator_of(const ScoreSources& sources, const Tokenizer& tokenizer) {
  if (!sources.simulator.empty()) {
    auto simulator = std::make_unique<LanguageSimulator>(LanguageSimulator::open(sources.simulator));
    simulator->set_target(tokenizer);
    return simulator;
  }
  return std::make_unique<SymbolicSimulator>(std::make_shared<DescriptionLibrary>(
      tokenizer, WordNet::open(WordNet::default_folder), read_facts(home_folder() / "facts")));
}

}  // namespace

ExplanationScorer::ExplanationScorer(const ScoreSources& sources) {
  if (sources.target.empty()) {
    fail_usage("explain", "scores without --target", "name the model whose directions are explained");
  }
  const Tokenizer tokenizer = Tokenizer::open(sources.target);
  simulator_ = simulator_of(sources, tokenizer);
  if (!sources.contexts.empty()) store_ = ContextStore::open(sources.contexts);
  if (!sources.texts.empty()) {
    pool_ = std::make_unique<PoolStates>(load_model(sources.target), tokenizer, pool_of(sources.texts, tokenizer),
                                         sources.layers);
  }
}

std::optional<DescriptionScores> ExplanationScorer::of_feature(int64_t layer, int64_t latent,
                                                               const std::string& words) const {
  if (!store_) return {};
  return score_description(words, store_->contexts(layer, latent), *simulator_);
}

std::optional<DescriptionScores> ExplanationScorer::of_vector(int64_t layer, const at::Tensor& vector,
                                                              const std::string& words) const {
  if (!pool_) return {};
  FeatureContexts contexts = contexts_of_direction(*pool_, layer, vector);
  contexts.activations = contexts.activations.clamp_min(0);
  return score_description(words, contexts, *simulator_);
}

std::string score_words(const std::optional<DescriptionScores>& scores) {
  if (!scores) return "";
  const FeatureScore& ours = scores->with_sign;
  if (ours.outcome != ScoreOutcome::scored)
    return fmt::format("score {:.2f}: {}", ours.value, score_outcome_name(ours.outcome));
  return fmt::format("score {:.2f} (as published {:.2f})", ours.value, scores->published.value);
}

}  // namespace introspect
