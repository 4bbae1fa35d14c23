// What runs find out beyond their rows: where-from answers, sums of directions, shares of a gap, sizes that are enough.
#include "experiment/findings.h"

#include "base/temporary_folder.h"
#include "experiment/mixtures.h"
#include "experiment/where_from.h"
#include "train/small_world.h"

#include <cmath>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(WhereFrom, WordsParseBackToThemselves) {
  for (const std::string token : {" the", "s", ".", " ", "a b", "é"}) {
    const auto parsed = parse_where_from(where_from_words({token, 12}));
    ASSERT_TRUE(parsed.has_value()) << token;
    EXPECT_EQ(parsed->token, token);
    EXPECT_EQ(parsed->layer, 12);
  }
  EXPECT_TRUE(parse_where_from("<<< the>>> at layer 3.").has_value());
  for (const char* text : {"", "the", "<<<the>>>", "<<<the>>> at layer", "<<<the>>> at layer x", "the>>> at layer 3",
                           "<<<the>>> at layer 3 and 4", "<<<the>>> at layer -1", ">>> at layer 3<<<"}) {
    EXPECT_FALSE(parse_where_from(text).has_value()) << text;
  }
}

TEST(WhereFrom, TokenAndLayerAreScoredApart) {
  Dataset dataset;
  Row row{"self", "where_from", {{}}};
  for (const auto& [token, layer, said] :
       {std::tuple{" the", 1, "<<< the>>> at layer 1"}, std::tuple{" the", 1, "<<< the>>> at layer 2"},
        std::tuple{" of", 2, "<<<of>>> at layer 2"}, std::tuple{" of", 2, "of"}}) {
    Example example;
    example.id = std::to_string(dataset.examples.size());
    example.split = Split::test;
    example.cluster = "piece";
    example.answer = where_from_words({token, layer});
    row.seeds[0].push_back({example.id, said});
    dataset.examples.push_back(example);
  }
  const WhereFromCounts counts = count_where_from(dataset, row);
  EXPECT_DOUBLE_EQ(value_of(Metric::exact_match, counts.token), 0.5);
  EXPECT_DOUBLE_EQ(value_of(Metric::exact_match, counts.layer), 0.5);
  EXPECT_DOUBLE_EQ(value_of(Metric::exact_match, counts.both), 0.25);
  EXPECT_EQ(counts.unparsable, 1);
  row.seeds[0][0].id = "another";
  EXPECT_TRUE(holds(error_of([&] { count_where_from(dataset, row); }), "'another'"));
}

TEST(Mixtures, AreOfUnitDirections) {
  const at::Tensor a = world::random_tensor({8}, 1) * 5, b = world::random_tensor({8}, 2) * 0.1;
  const at::Tensor ua = a / a.norm(), ub = b / b.norm();
  EXPECT_LT(world::difference(mixture(a, b, 1), ua), 1e-6);
  EXPECT_LT(world::difference(mixture(a, b, 0), ub), 1e-6);
  EXPECT_LT(world::difference(mixture(a, b, 0.7), ua * 0.7 + ub * 0.3), 1e-6);
}

TEST(Mixtures, PairsAreOfOneLayerAndTwoDescriptionsAndNoneTwice) {
  std::vector<Example> examples(20);
  std::vector<const Example*> pointers;
  for (size_t i = 0; i < examples.size(); ++i) {
    examples[i].layers = {static_cast<int64_t>(i % 2)};
    examples[i].answer = "label " + std::to_string(i / 4);
    pointers.push_back(&examples[i]);
  }
  const std::vector<FeaturePair> all = draw_pairs(pointers, 1000, 1), some = draw_pairs(pointers, 15, 1);
  EXPECT_EQ(all.size(), 2 * (45u - 5u));
  ASSERT_EQ(some.size(), 15u);
  std::set<std::set<const Example*>> seen;
  for (const FeaturePair& pair : all) {
    EXPECT_EQ(pair.first->layers, pair.second->layers);
    EXPECT_NE(pair.first->answer, pair.second->answer);
    EXPECT_TRUE(seen.insert({pair.first, pair.second}).second);
  }
  const std::vector<FeaturePair> again = draw_pairs(pointers, 15, 1);
  for (size_t i = 0; i < some.size(); ++i) EXPECT_EQ(some[i].first, again[i].first);
}

std::vector<Counts> clusters_of(double share, int64_t count = 50) {
  std::vector<Counts> clusters;
  for (int64_t i = 0; i < count; ++i) {
    ItemScore score;
    score.exact = static_cast<double>(i % 10) < 10 * share;
    clusters.push_back(count_item(score));
  }
  return clusters;
}

TEST(GapClosed, IsTheShareBetweenTwinAndSelf) {
  const auto closed = [](double row, double twin, double self) {
    return gap_closed(clusters_of(row), clusters_of(twin), clusters_of(self), Metric::exact_match);
  };
  EXPECT_NEAR(closed(0.2, 0.2, 0.8).value, 0, 1e-12);
  EXPECT_NEAR(closed(0.8, 0.2, 0.8).value, 1, 1e-12);
  EXPECT_NEAR(closed(0.5, 0.2, 0.8).value, 0.5, 1e-12);
  EXPECT_LT(closed(0.5, 0.2, 0.8).interval.low, 0.5);
  EXPECT_GT(closed(0.5, 0.2, 0.8).interval.high, 0.5);
  EXPECT_NEAR(closed(0.1, 0.2, 0.8).value, -1.0 / 6, 1e-12);  // worse than the twin
  EXPECT_TRUE(std::isnan(closed(0.5, 0.8, 0.2).value));       // there is no gap
  EXPECT_LT(closed(0.5, 0.5, 0.6).interval.defined, 1);
}

TEST(ReachedWords, SayWhatIsNotReached) {
  const auto words = [](double value, double low, double high) {
    return reached_words(value, {low, high, 1}, 100, 1600, [](double x) { return fmt::format("{:.0f}", x); });
  };
  EXPECT_EQ(words(400, 300, 500), "400 (300 to 500)");
  EXPECT_EQ(words(400, 300, kInfinity), "400 (300 to not reached)");
  EXPECT_EQ(words(kInfinity, 300, kInfinity), "not reached up to 1600");
  EXPECT_EQ(words(100, 100, 120), "at most 100 (100 to 120)");
  EXPECT_EQ(words(std::nan(""), 1, 2), "–");
}

}  // namespace
}  // namespace introspect
