#include "evaluate/feature_floors.h"

#include "base/error.h"
#include "base/safetensors.h"
#include "evaluate/feature_score.h"
#include "evaluate/metrics.h"

#include <filesystem>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

Example example_of(const std::string& id, Split split, int64_t layer, int64_t vector, const std::string& answer) {
  Example example;
  example.id = id;
  example.split = split;
  example.cluster = id;
  example.layers = {layer};
  example.vector = vector;
  example.answer = answer;
  return example;
}

// "one" fires on token 1, "two" on token 2, "same" everywhere; anything else cannot be read.
class TinySimulator : public Simulator {
 public:
  std::optional<at::Tensor> simulate(const std::string& description, const at::Tensor& tokens) const override {
    if (description == "one") return (tokens == 1).to(at::kFloat);
    if (description == "not one") return (tokens != 1).to(at::kFloat);
    if (description == "two") return (tokens == 2).to(at::kFloat);
    if (description == "same") return at::ones_like(tokens, at::kFloat);
    return {};
  }
};

// Two test features of layer 3, the first of which fires on token 1, the second on token 2.
struct World {
  Dataset dataset;
  fs::path folder = fs::temp_directory_path() / "introspect-feature-floors";

  World() {
    dataset.task = "features";
    dataset.vectors = at::tensor({1.f, 0.f, 10.f, 1.f, 0.f, 2.f, 1.f, 0.f, 0.f, 1.f}).reshape({5, 2});
    dataset.examples = {example_of("a", Split::train, 3, 0, "one"), example_of("b", Split::train, 6, 1, "same"),
                        example_of("c", Split::train, 3, 2, "two"), example_of("p", Split::test, 3, 3, "one"),
                        example_of("q", Split::test, 3, 4, "two")};
    dataset.examples[3].attributes["contexts"] = "0";
    dataset.examples[4].attributes["contexts"] = "1";
    const at::Tensor tokens = at::tensor({0, 1, 2, 1, 0, 3, 2, 1}, at::kInt).reshape({1, 2, 4}).repeat({2, 1, 1});
    at::Tensor activations = (tokens == 1).to(at::kFloat) * 5;
    activations[1].copy_((tokens[1] == 2).to(at::kFloat) * 7);
    const at::Tensor kinds = at::tensor({0, 2}, at::kInt).reshape({1, 2}).repeat({2, 1});
    fs::create_directories(folder);
    write_safetensors(folder / "contexts.safetensors",
                      {{"tokens", tokens}, {"activations", activations}, {"kinds", kinds}});
  }
  ~World() { fs::remove_all(folder); }
  std::vector<const Example*> train() const { return dataset.of(Split::train); }
};

TEST(NearestNeighbour, TakesRawProductsOverAllLayersOrOne) {
  const World world;
  // of (1, 0) the largest product is with (10, 1) of layer 6; of layer 3 with (1, 0)
  const std::vector<Answer> all = nearest_neighbour(world.dataset, world.train(), false);
  EXPECT_EQ(all[0].text, "same");
  EXPECT_EQ(all[1].text, "two");
  const std::vector<Answer> own = nearest_neighbour(world.dataset, world.train(), true);
  EXPECT_EQ(own[0].text, "one");
  EXPECT_EQ(own[1].text, "two");
  EXPECT_THROW(nearest_neighbour(world.dataset, {world.train()[1]}, true), Error);
}

TEST(FeatureScorer, ScoresWordsByWhatTheySay) {
  const World world;
  const FeatureScorer scorer(world.dataset, world.folder, std::make_shared<TinySimulator>());
  const auto scored = [&](size_t which, const std::string& words) {
    ItemScore score = score_item(world.dataset.examples[which], words);
    scorer.score(world.dataset.examples[which], words, score);
    return score;
  };
  EXPECT_NEAR(scored(3, "one").simulated, 1, 1e-6);
  EXPECT_NEAR(scored(3, "not one").simulated, -1, 1e-6);
  EXPECT_NEAR(scored(3, "not one").published, 1, 1e-6);  // the published score loses the sign
  EXPECT_LT(scored(3, "two").simulated, 0);
  EXPECT_TRUE(scored(3, "two").parsed);
  EXPECT_EQ(scored(3, "same").simulated, 0);  // constant
  EXPECT_FALSE(scored(3, "gibberish").parsed);
  EXPECT_EQ(scored(3, "gibberish").simulated, 0);
  EXPECT_FALSE(scored(3, "").parsed);
  EXPECT_EQ(scored(3, "one").judged, 1);
  EXPECT_EQ(scored(3, "two").judged, 0);
}

TEST(FeatureScorer, ExamplesAsideAreInNoFigureOverAll) {
  World world;
  world.dataset.examples[4].attributes["aside"] = "ACT";
  const FeatureScorer scorer(world.dataset, world.folder, std::make_shared<TinySimulator>());
  ScoreOptions options;
  options.features = &scorer;
  const std::vector<Score> scores =
      score_rows(world.dataset, {{"self", "trained", {{{"p", "one"}, {"q", "one"}}}}}, options);
  for (const Score& score : scores) {
    if (score.metric != "exact_match") continue;
    if (score.group == "all") {
      EXPECT_EQ(score.value, 1);
      EXPECT_EQ(score.n, 1);
    }
    if (score.group == "aside=ACT") {
      EXPECT_EQ(score.value, 0);
    }
  }
  EXPECT_TRUE(std::any_of(scores.begin(), scores.end(), [](const Score& s) { return s.group == "aside=ACT"; }));
}

TEST(BestOf, TakesTheAnswerThatScoresBest) {
  const World world;
  const FeatureScorer scorer(world.dataset, world.folder, std::make_shared<TinySimulator>());
  const std::vector<Answer> best = best_of(
      world.dataset, {{{"p", "gibberish"}, {"q", "two"}}, {{"p", "one"}, {"q", "same"}}, {{"p", "two"}, {"q", "one"}}},
      scorer);
  EXPECT_EQ(best[0].text, "one");
  EXPECT_EQ(best[1].text, "two");
}

TEST(FeatureScorer, RefusesRowsThatAreNotThere) {
  World world;
  world.dataset.examples[3].attributes["contexts"] = "2";
  EXPECT_THROW(FeatureScorer(world.dataset, world.folder, std::make_shared<TinySimulator>()), Error);
  world.dataset.examples[3].attributes.erase("contexts");
  EXPECT_THROW(FeatureScorer(world.dataset, world.folder, std::make_shared<TinySimulator>()), Error);
}

}  // namespace
}  // namespace introspect
