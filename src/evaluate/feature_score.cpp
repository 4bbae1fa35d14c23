#include "evaluate/feature_score.h"

#include "base/error.h"
#include "base/safetensors.h"
#include "evaluate/judge.h"
#include "evaluate/metrics.h"
#include "feature/contexts.h"
#include "feature/correlation.h"
#include "feature/scores.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include <ATen/Functions.h>

namespace introspect {

namespace {

// The largest overlap with the true description or one of the further ones.
double judged(const Example& example, const std::string& answer) {
  double best = word_overlap(answer, example.answer);
  const auto further = example.attributes.find("references");
  if (further == example.attributes.end()) return best;
  std::istringstream lines(further->second);
  for (std::string line; std::getline(lines, line);) best = std::max(best, word_overlap(answer, line));
  return best;
}

}  // namespace

FeatureScorer::FeatureScorer(const Dataset& dataset, const fs::path& folder, std::shared_ptr<const Simulator> simulator,
                             int64_t contexts_of_each_kind)
    : simulator_(std::move(simulator)), contexts_of_each_kind_(contexts_of_each_kind) {
  const fs::path file = folder / "contexts.safetensors";
  const Safetensors stored(file);
  tokens_ = stored.get("tokens");
  activations_ = stored.get("activations");
  kinds_ = stored.get("kinds");
  const bool fits = tokens_.dim() == 3 && tokens_.scalar_type() == at::kInt &&
                    activations_.sizes() == tokens_.sizes() && activations_.scalar_type() == at::kFloat &&
                    kinds_.dim() == 2 && kinds_.scalar_type() == at::kInt && kinds_.size(0) == tokens_.size(0) &&
                    kinds_.size(1) == tokens_.size(1);
  if (!fits) {
    fail("evaluate", fmt::format("contexts: expected tokens [n, C, T] I32, activations of the same shape F32 and kinds "
                                 "[n, C] I32 ({})",
                                 file.string()));
  }
  for (const Example* example : dataset.of(Split::test)) {
    const FeatureContexts contexts = contexts_of(*example);  // throws for rows that are not there
    constant_ += std::isnan(correlation(contexts.activations, contexts.activations, contexts.tokens));
  }
}

int64_t FeatureScorer::contexts_row(const Example& example) const {
  const auto found = example.attributes.find("contexts");
  int64_t row = -1;
  if (found != example.attributes.end()) {
    const std::string& text = found->second;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), row);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) row = -1;
  }
  if (row < 0 || row >= tokens_.size(0)) {
    fail("evaluate",
         fmt::format("example '{}' names no row of contexts.safetensors, which has {}", example.id, tokens_.size(0)));
  }
  return row;
}

FeatureContexts FeatureScorer::contexts_of(const Example& example) const {
  const int64_t row = contexts_row(example);
  FeatureContexts contexts;
  const int* kinds = kinds_.data_ptr<int>() + row * kinds_.size(1);
  while (std::ssize(contexts.kinds) < kinds_.size(1) && kinds[contexts.kinds.size()] >= 0) {
    contexts.kinds.push_back(static_cast<ContextKind>(kinds[contexts.kinds.size()]));
  }
  contexts.tokens = tokens_[row].slice(0, 0, std::ssize(contexts.kinds));
  contexts.activations = activations_[row].slice(0, 0, std::ssize(contexts.kinds));
  return contexts_of_each_kind_ > 0 ? first_of_each_kind(contexts, contexts_of_each_kind_) : contexts;
}

FeatureScorer::Outcome FeatureScorer::simulate(const Example& example, const std::string& answer) const {
  const std::pair key{example.attributes.at("contexts"), answer};
  {
    const std::lock_guard lock(guard_);
    const auto found = known_.find(key);
    if (found != known_.end()) return found->second;
  }
  const FeatureContexts contexts = contexts_of(example);
  const FeatureScore with_sign = signed_score(answer, contexts, *simulator_);
  const FeatureScore as_published = published_score(answer, contexts, *simulator_);
  const bool readable = with_sign.outcome != ScoreOutcome::empty && with_sign.outcome != ScoreOutcome::unreadable;
  const auto number = [](const FeatureScore& score) { return std::isfinite(score.value) ? score.value : 0.0; };
  const Outcome outcome{readable, number(with_sign), number(as_published)};
  const std::lock_guard lock(guard_);
  return known_.emplace(key, outcome).first->second;
}

void FeatureScorer::score(const Example& example, const std::string& answer, ItemScore& score) const {
  const Outcome outcome = simulate(example, answer);
  score.parsed = outcome.readable;
  score.simulated = outcome.simulated;
  score.published = outcome.published;
  score.judged = score.described ? judged(example, answer) : 0;
}

}  // namespace introspect
