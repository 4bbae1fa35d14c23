// Scores of planted features: every one is known in closed form.
#include "feature/scores.h"

#include "feature/planted.h"

namespace introspect {
namespace {

using planted::PlantedSimulator;

TEST(Scores, ThePerfectDescriptionAndItsOpposite) {
  const FeatureContexts contexts = planted::contexts(5, 4, 6);
  const PlantedSimulator simulator;
  EXPECT_NEAR(published_score("token 7", contexts, simulator).value, 1, 1e-12);
  EXPECT_NEAR(signed_score("token 7", contexts, simulator).value, 1, 1e-12);
  EXPECT_NEAR(published_score("not token 7", contexts, simulator).value, 1, 1e-12) << "the published score has no sign";
  EXPECT_NEAR(signed_score("not token 7", contexts, simulator).value, -1, 1e-12);
  EXPECT_EQ(signed_score("token 7", contexts, simulator).outcome, ScoreOutcome::scored);
  EXPECT_EQ(published_score("token 7", contexts, simulator).contexts, 5);
  EXPECT_EQ(signed_score("token 7", contexts, simulator).contexts, 15);
}

TEST(Scores, OnlyTheSignedOneSeesWhereTheFeatureIsSilent) {
  const FeatureContexts contexts = planted::contexts(5, 4, 6);
  const PlantedSimulator simulator;
  EXPECT_NEAR(published_score("place 3", contexts, simulator).value, 1, 1e-12);
  // 15 pieces of 7 tokens that count, 5 true and 15 simulated ones
  const double n = 105, a = 5, b = 15;
  EXPECT_NEAR(signed_score("place 3", contexts, simulator).value,
              (n * a - a * b) / std::sqrt(a * (n - a) * b * (n - b)), 1e-12);
}

TEST(Scores, WhatCannotBeScoredSaysWhy) {
  const FeatureContexts contexts = planted::contexts(5, 4, 6);
  const PlantedSimulator simulator;
  for (const auto& score :
       {published_score("constant", contexts, simulator), signed_score("constant", contexts, simulator)}) {
    EXPECT_EQ(score.value, 0);
    EXPECT_EQ(score.outcome, ScoreOutcome::constant_simulation);
  }
  EXPECT_EQ(signed_score("nonsense", contexts, simulator).outcome, ScoreOutcome::unreadable);
  EXPECT_EQ(signed_score("nonsense", contexts, simulator).value, 0);
  const int calls = simulator.calls;
  for (const char* empty : {"", " \n\t"}) {
    EXPECT_EQ(signed_score(empty, contexts, simulator).outcome, ScoreOutcome::empty);
    EXPECT_EQ(published_score(empty, contexts, simulator).value, 0);
  }
  EXPECT_EQ(simulator.calls, calls) << "nothing is simulated for no description";

  const FeatureContexts silent = planted::contexts(5, 4, 6, 8, 7, 0);
  EXPECT_EQ(signed_score("token 7", silent, simulator).outcome, ScoreOutcome::constant_truth);
  EXPECT_TRUE(std::isnan(published_score("token 7", silent, simulator).value));
  const FeatureContexts none = planted::contexts(0, 4, 6);
  EXPECT_EQ(published_score("token 7", none, simulator).outcome, ScoreOutcome::no_contexts);
  EXPECT_EQ(signed_score("token 7", none, simulator).outcome, ScoreOutcome::constant_truth);
}

TEST(Scores, FirstPositionsAndWhatLiesBehindTheEndDoNotCount) {
  FeatureContexts contexts = planted::contexts(5, 4, 6);
  const PlantedSimulator simulator;
  contexts.tokens.select(1, 0).fill_(7);  // the description fires there, and it says nothing
  contexts.tokens.slice(1, 6).fill_(-1);
  EXPECT_NEAR(signed_score("token 7", contexts, simulator).value, 1, 1e-12);
  EXPECT_NEAR(signed_score("token -1", contexts, simulator).value, 0, 1e-12);
  EXPECT_EQ(signed_score("token -1", contexts, simulator).outcome, ScoreOutcome::constant_simulation);
}

TEST(Scores, PublishedTakesTheHighestPiecesAndClipsBelowZero) {
  FeatureContexts contexts = planted::contexts(30, 2, 2);
  const PlantedSimulator simulator;
  // ten weak pieces, in front, in which the feature fires elsewhere
  contexts.activations.slice(0, 0, 10).fill_(0);
  contexts.activations.slice(0, 0, 10).select(1, 5).fill_(0.5);
  EXPECT_NEAR(published_score("place 3", contexts, simulator).value, 1, 1e-12);
  EXPECT_LT(published_score("place 3", contexts, simulator, 30).value, 0.9);
  EXPECT_EQ(published_score("place 3", contexts, simulator, 7).contexts, 7);
  // a direction may be negative; the published score takes that as nothing, ours as what it is
  FeatureContexts negative = planted::contexts(5, 4, 6);
  negative.activations.select(1, 4).fill_(-3);
  EXPECT_NEAR(published_score("token 7", negative, simulator).value, 1, 1e-12);
  EXPECT_LT(signed_score("token 7", negative, simulator).value, 0.5);
}

TEST(Scores, BothOfOneSimulation) {
  FeatureContexts contexts = planted::contexts(25, 4, 6);
  contexts.kinds[2] = contexts.kinds[7] = ContextKind::quantile;
  const PlantedSimulator simulator;
  for (const char* description : {"token 7", "not token 7", "place 3", "token 120", "constant", "nonsense", ""}) {
    const DescriptionScores both = score_description(description, contexts, simulator);
    const FeatureScore published = published_score(description, contexts, simulator);
    const FeatureScore with_sign = signed_score(description, contexts, simulator);
    EXPECT_DOUBLE_EQ(both.published.value, published.value) << description;
    EXPECT_DOUBLE_EQ(both.with_sign.value, with_sign.value) << description;
    EXPECT_EQ(both.published.outcome, published.outcome) << description;
    EXPECT_EQ(both.with_sign.outcome, with_sign.outcome) << description;
    EXPECT_EQ(both.published.contexts, 20);
    EXPECT_EQ(both.with_sign.contexts, 33);
  }
  const PlantedSimulator fresh;
  score_description("token 7", contexts, fresh);
  EXPECT_EQ(fresh.calls, 1);
  const FeatureContexts few = first_of_each_kind(contexts, 2);
  EXPECT_EQ(few.tokens.size(0), 8);
  EXPECT_EQ(std::count(few.kinds.begin(), few.kinds.end(), ContextKind::quantile), 2);
}

TEST(Scores, SummariesCountEveryOutcome) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const ScoreSummary summary = summarise({{0.5, ScoreOutcome::scored, 3},
                                          {0, ScoreOutcome::empty, 3},
                                          {1, ScoreOutcome::scored, 3},
                                          {none, ScoreOutcome::constant_truth, 3}});
  EXPECT_EQ(summary.features, 4);
  EXPECT_EQ(summary.counted, 3);
  EXPECT_DOUBLE_EQ(summary.mean, 0.5);
  EXPECT_DOUBLE_EQ(summary.standard_error, std::sqrt(0.25 / 3));
  EXPECT_EQ(summary.outcomes[static_cast<size_t>(ScoreOutcome::scored)], 2);
  EXPECT_EQ(summary.outcomes[static_cast<size_t>(ScoreOutcome::empty)], 1);
  EXPECT_EQ(summary.outcomes[static_cast<size_t>(ScoreOutcome::constant_truth)], 1);
  EXPECT_TRUE(std::isnan(summarise(std::vector<FeatureScore>{}).mean));
}

}  // namespace
}  // namespace introspect
