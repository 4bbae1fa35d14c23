#include "feature/scores.h"

#include "base/error.h"
#include "feature/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kPublishedPieces = 20;

at::Tensor rows_of(const at::Tensor& all, const std::vector<int64_t>& rows) {
  return all.index_select(0, at::tensor(rows, at::kLong));
}

// What a simulator says of all contexts, or why it says nothing.
struct Simulated {
  at::Tensor values;  // [C, T], undefined if there are none
  ScoreOutcome why = ScoreOutcome::scored;
};

Simulated simulate(const std::string& description, const at::Tensor& tokens, const Simulator& simulator) {
  if (description.find_first_not_of(" \t\r\n") == std::string::npos) return {{}, ScoreOutcome::empty};
  const std::optional<at::Tensor> values = simulator.simulate(description, tokens);
  if (!values) return {{}, ScoreOutcome::unreadable};
  if (values->sizes() != tokens.sizes()) fail("scores", "the simulator gave another shape than its tokens have");
  if (!values->isfinite().all().item<bool>()) fail("scores", "the simulator gave values that are no numbers");
  return {*values, ScoreOutcome::scored};
}

// `truth` and `tokens` of some contexts; `simulated` is asked for once it is known that there is something to tell.
template <class Simulate>
FeatureScore score(const at::Tensor& truth, const at::Tensor& tokens, const Simulate& simulated) {
  const int64_t contexts = tokens.size(0);
  if (contexts == 0) return {kNone, ScoreOutcome::no_contexts, 0};
  // a truth that varies correlates with itself
  if (std::isnan(correlation(truth, truth, tokens))) return {kNone, ScoreOutcome::constant_truth, contexts};
  const Simulated said = simulated();
  if (!said.values.defined()) return {0, said.why, contexts};
  const double value = correlation(truth, said.values, tokens);
  if (std::isnan(value)) return {0, ScoreOutcome::constant_simulation, contexts};
  return {value, ScoreOutcome::scored, contexts};
}

// The top pieces with the highest activations, at most `pieces`.
std::vector<int64_t> published_rows(const FeatureContexts& contexts, int64_t pieces) {
  std::vector<std::pair<double, int64_t>> found;
  for (int64_t i = 0; i < std::ssize(contexts.kinds); ++i) {
    if (contexts.kinds[static_cast<size_t>(i)] != ContextKind::top) continue;
    found.emplace_back(-contexts.activations[i].max().item<double>(), i);
  }
  std::sort(found.begin(), found.end());
  std::vector<int64_t> rows;
  for (const auto& [activation, row] : found) {
    if (std::ssize(rows) < pieces) rows.push_back(row);
  }
  return rows;
}

std::vector<int64_t> signed_rows(const FeatureContexts& contexts) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < std::ssize(contexts.kinds); ++i) {
    if (contexts.kinds[static_cast<size_t>(i)] != ContextKind::quantile) rows.push_back(i);
  }
  return rows;
}

// Absolute: what the fitted line and the absolute value come to.
FeatureScore absolute(FeatureScore score) {
  score.value = std::abs(score.value);
  return score;
}

}  // namespace

std::string score_outcome_name(ScoreOutcome outcome) {
  static const std::array<const char*, kScoreOutcomes> names = {"scored",     "constant simulation", "empty",
                                                                "unreadable", "constant truth",      "no contexts"};
  return names[static_cast<size_t>(outcome)];
}

FeatureScore published_score(const std::string& description, const FeatureContexts& contexts,
                             const Simulator& simulator, int64_t pieces) {
  const std::vector<int64_t> rows = published_rows(contexts, pieces);
  const at::Tensor tokens = rows_of(contexts.tokens, rows);
  return absolute(score(rows_of(contexts.activations, rows).clamp_min(0), tokens,
                        [&] { return simulate(description, tokens, simulator); }));
}

FeatureScore signed_score(const std::string& description, const FeatureContexts& contexts, const Simulator& simulator) {
  const std::vector<int64_t> rows = signed_rows(contexts);
  const at::Tensor tokens = rows_of(contexts.tokens, rows);
  return score(rows_of(contexts.activations, rows), tokens, [&] { return simulate(description, tokens, simulator); });
}

DescriptionScores score_description(const std::string& description, const FeatureContexts& contexts,
                                    const Simulator& simulator) {
  // the top pieces are among those of the signed score, so that one simulation is enough
  const std::vector<int64_t> all = signed_rows(contexts), top = published_rows(contexts, kPublishedPieces);
  const at::Tensor tokens = rows_of(contexts.tokens, all), top_tokens = rows_of(contexts.tokens, top);
  std::optional<Simulated> said;
  const auto once = [&]() -> const Simulated& {
    if (!said) said = simulate(description, tokens, simulator);
    return *said;
  };
  std::map<int64_t, int64_t> place;  // of a context among `all`
  for (size_t i = 0; i < all.size(); ++i) place[all[i]] = static_cast<int64_t>(i);
  std::vector<int64_t> top_places;
  for (const int64_t row : top) top_places.push_back(place.at(row));
  DescriptionScores scores;
  scores.with_sign = score(rows_of(contexts.activations, all), tokens, once);
  scores.published = absolute(score(rows_of(contexts.activations, top).clamp_min(0), top_tokens, [&] {
    const Simulated& whole = once();
    return whole.values.defined() ? Simulated{rows_of(whole.values, top_places), whole.why} : whole;
  }));
  return scores;
}

FeatureContexts first_of_each_kind(const FeatureContexts& contexts, int64_t count) {
  FeatureContexts few;
  few.layer = contexts.layer;
  few.latent = contexts.latent;
  std::map<ContextKind, int64_t> taken;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < std::ssize(contexts.kinds); ++i) {
    const ContextKind kind = contexts.kinds[static_cast<size_t>(i)];
    if (++taken[kind] > count) continue;
    few.kinds.push_back(kind);
    rows.push_back(i);
  }
  few.tokens = rows_of(contexts.tokens, rows);
  few.activations = rows_of(contexts.activations, rows);
  if (contexts.values.defined()) few.values = rows_of(contexts.values, rows);
  return few;
}

ScoreSummary summarise(const std::vector<FeatureScore>& scores) {
  ScoreSummary summary;
  summary.features = std::ssize(scores);
  double sum = 0, squares = 0;
  for (const FeatureScore& each : scores) {
    ++summary.outcomes[static_cast<size_t>(each.outcome)];
    if (std::isnan(each.value)) continue;
    ++summary.counted;
    sum += each.value;
  }
  const auto n = static_cast<double>(summary.counted);
  summary.mean = summary.counted > 0 ? sum / n : kNone;
  for (const FeatureScore& each : scores) {
    if (!std::isnan(each.value)) squares += (each.value - summary.mean) * (each.value - summary.mean);
  }
  summary.standard_error = summary.counted > 1 ? std::sqrt(squares / (n - 1) / n) : kNone;
  return summary;
}

}  // namespace introspect
