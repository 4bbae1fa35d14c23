// Similarity of activations: what each measure does and does not see, on states that are known; and correlations.
#include "evaluate/similarity.h"

#include "base/temporary_folder.h"
#include "train/small_world.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::random_tensor;

// A rotation: the orthogonal factor of a random matrix.
at::Tensor rotation(int64_t width, uint64_t seed) {
  return std::get<0>(at::linalg_qr(random_tensor({width, width}, seed)));
}

TEST(Similarity, CkaSeesThroughRotationScaleAndShift) {
  const at::Tensor x = random_tensor({400, 12}, 1);
  EXPECT_NEAR(linear_cka(x, x), 1, 1e-9);
  EXPECT_NEAR(linear_cka(x, at::mm(x, rotation(12, 2)) * 7 + 3), 1, 1e-4);
  const double strangers = linear_cka(x, random_tensor({400, 12}, 3));
  EXPECT_LT(strangers, 0.1);
  const double half = linear_cka(x, x + random_tensor({400, 12}, 4));
  EXPECT_GT(half, strangers);
  EXPECT_LT(half, 0.9);
  // by hand: x = (1, 2, 3), y = (1, 3, 2), centred (-1, 0, 1) and (-1, 1, 0): 1 / (2 * 2)
  const at::Tensor a = at::tensor({1.0, 2.0, 3.0}).reshape({3, 1}), b = at::tensor({1.0, 3.0, 2.0}).reshape({3, 1});
  EXPECT_NEAR(linear_cka(a, b), 0.25, 1e-12);
  EXPECT_NEAR(linear_cka(x, random_tensor({400, 5}, 3)), linear_cka(random_tensor({400, 5}, 3), x), 1e-9);
  EXPECT_TRUE(std::isnan(linear_cka(x, at::ones({400, 3}))));
  EXPECT_TRUE(holds(error_of([&] { linear_cka(x, a); }), "400 and 3 positions"));
}

TEST(Similarity, CosineAndDotProductSeeTheBasis) {
  const at::Tensor x = random_tensor({400, 12}, 1);
  EXPECT_NEAR(centred_cosine(x, x * 3 + 5), 1, 1e-5) << "neither length nor a shift";
  EXPECT_NEAR(centred_cosine(x, -x), -1, 1e-9);
  EXPECT_NEAR(centred_cosine(x, at::mm(x, rotation(12, 2))), 0, 0.4) << "but a rotation";
  EXPECT_NEAR(dot_product_similarity(x, x), 1, 1e-9);
  EXPECT_NEAR(dot_product_similarity(x, x * 0.5), 0.5, 1e-6);
  EXPECT_NEAR(dot_product_similarity(x, random_tensor({400, 12}, 3)), 0, 0.1);
  EXPECT_TRUE(std::isnan(dot_product_similarity(at::zeros({4, 2}), at::ones({4, 2}))));
  EXPECT_TRUE(std::isnan(centred_cosine(at::ones({4, 2}), at::ones({4, 2}))));
  EXPECT_TRUE(holds(error_of([&] { centred_cosine(x, at::ones({400, 3})); }), "[400, 12] and [400, 3]"));
}

TEST(Similarity, PatternsAreThoseOfTheTopExemplars) {
  // four documents of ten positions; the direction fires on documents 1 and 3
  at::Tensor a = random_tensor({40, 1}, 1) * 0.1;
  std::vector<int64_t> documents;
  for (int64_t i = 0; i < 40; ++i) documents.push_back(i / 10);
  a[15] = 5;
  a[38] = 4;
  at::Tensor b = random_tensor({40, 1}, 2);
  for (const int64_t document : {1, 3}) {
    b.slice(0, document * 10, document * 10 + 10).copy_(a.slice(0, document * 10, document * 10 + 10) * 2 - 1);
  }
  EXPECT_NEAR(pattern_similarity(a, b, documents, 2), 1, 1e-5);
  EXPECT_LT(pattern_similarity(a, b, documents, 4), 0.99) << "elsewhere they have nothing in common";
  EXPECT_NEAR(pattern_similarity(a, -b, documents, 2), -1, 1e-5) << "the sign counts";
  // a direction that never moves is left out, and does not count as 0
  const at::Tensor more = at::cat({a, at::ones({40, 1})}, 1), other = at::cat({b, b}, 1);
  EXPECT_NEAR(pattern_similarity(more, other, documents, 2), 1, 1e-5);
  EXPECT_TRUE(std::isnan(pattern_similarity(at::ones({40, 1}), b, documents, 2)));
  EXPECT_TRUE(holds(error_of([&] { pattern_similarity(a, b, {1, 2}, 2); }), "40 positions and 2 documents"));
}

TEST(Similarity, OfModels) {
  const TemporaryFolder folder;
  folder.write("text.txt", world::numbered_text(3000));
  SimilaritySettings settings;
  settings.text.text = Json::array({{{"kind", "files"}, {"paths", {"text.txt"}}}});
  settings.text.base = folder.path();
  settings.text.tokens = 3000;
  settings.text.context = 64;
  settings.exemplars = 5;
  const Model target = world::loud_model(world::config(256, 4)), stranger = world::loud_model(world::config(256, 2), 9);
  ModelConfig narrow = world::config(256, 2);
  narrow.d_model = 24;
  const Model other_width = world::loud_model(narrow, 3);
  const std::map<int64_t, at::Tensor> directions = {{1, random_tensor({6, 32}, 1)}, {3, random_tensor({4, 32}, 2)}};
  const auto compare = [&](const Model& explainer) {
    return similarities({target, world::tokenizer()}, {explainer, world::tokenizer()}, directions, settings,
                        [](int64_t) {});
  };
  for (const LayerSimilarity& s : compare(target)) {
    EXPECT_EQ(s.explainer_layer, s.target_layer);
    EXPECT_NEAR(s.pattern, 1, 1e-5);
    EXPECT_NEAR(s.dot_product, 1, 1e-5);
    EXPECT_NEAR(s.cosine, 1, 1e-5);
    EXPECT_NEAR(s.cka, 1, 1e-5);
    EXPECT_LT(s.map_error, 0.01);
    EXPECT_FALSE(s.mapped);
    EXPECT_EQ(s.directions, s.target_layer == 1 ? 6 : 4);
    EXPECT_GT(s.positions, 100);
  }
  const auto strange = compare(stranger);
  ASSERT_EQ(strange.size(), 2u);
  EXPECT_EQ(strange[0].explainer_layer, 0);
  for (const LayerSimilarity& s : strange) {
    EXPECT_LT(s.pattern, 0.9);
    EXPECT_LT(s.cka, 0.95);
    EXPECT_GT(s.map_error, 0.01);
  }
  const auto mapped = compare(other_width);
  EXPECT_TRUE(mapped[1].mapped);
  EXPECT_GT(mapped[1].cosine, 0.1) << "the map's image is like the explainer's states";
  // through a record and back, with a measure that is not defined
  LayerSimilarity nothing = mapped[0];
  nothing.pattern = std::numeric_limits<double>::quiet_NaN();
  const LayerSimilarity read = parse_similarity(parse_json(similarity_to_json(nothing).dump(), "s.json"), "s.json");
  EXPECT_TRUE(std::isnan(read.pattern));
  EXPECT_EQ(read.cka, nothing.cka);
  EXPECT_EQ(read.mapped, nothing.mapped);
  EXPECT_EQ(similarity_measures().size(), 5u);
  EXPECT_TRUE(holds(error_of([&] { measure_of(nothing, "smell"); }), "smell"));
}

TEST(Similarity, Settings) {
  const Json table{{"text", Json::array()}, {"tokens", 500}, {"directions", 3}};
  const SimilaritySettings settings = parse_similarity_settings(table, "r.toml", "/x");
  EXPECT_EQ(settings.directions, 3);
  EXPECT_EQ(settings.exemplars, 20);
  EXPECT_EQ(settings.text.tokens, 500);
  EXPECT_EQ(similarity_settings_to_json(settings)["directions"], 3);
  Json bad = table;
  bad["exemplars"] = 0;
  EXPECT_TRUE(holds(error_of([&] { parse_similarity_settings(bad, "r.toml", ""); }), "similarity.exemplars: got 0"));
  bad = table;
  bad["colour"] = 0;
  EXPECT_TRUE(holds(error_of([&] { parse_similarity_settings(bad, "r.toml", ""); }), "colour"));
}

TEST(Correlations, AreWhatTheyAreByHand) {
  const std::vector<double> x = {1, 2, 3, 4}, line = {3, 5, 7, 9}, bent = {1, 4, 9, 100}, mixed = {1, 3, 2, 4};
  const std::vector<std::string> own = {"a", "b", "c", "d"};
  EXPECT_NEAR(correlate(x, line, own, false).value, 1, 1e-12);
  EXPECT_LT(correlate(x, bent, own, false).value, 0.9);
  EXPECT_NEAR(correlate(x, bent, own, true).value, 1, 1e-12) << "ranks see no bend";
  EXPECT_NEAR(correlate(x, mixed, own, true).value, 0.8, 1e-12);
  // ties share their mean rank: x has ranks 0.5 0.5 2 3, y 0 1 2 3
  EXPECT_NEAR(correlate({1, 1, 3, 4}, x, own, true).value, 0.9486833, 1e-6);
  const double nothing = std::numeric_limits<double>::quiet_NaN();
  const Correlation holed = correlate({1, nothing, 3, 4}, line, own, false);
  EXPECT_EQ(holed.points, 3);
  EXPECT_NEAR(holed.value, 1, 1e-12);
  EXPECT_TRUE(std::isnan(correlate({1, 2}, {1, 2}, {"a", "b"}, false).value)) << "two points always lie on a line";
  EXPECT_TRUE(std::isnan(correlate({2, 2, 2}, {1, 2, 3}, {"a", "b", "c"}, false).value));
  EXPECT_TRUE(holds(error_of([&] { correlate(x, {1}, own, false); }), "4, 1 and 4"));
}

TEST(Correlations, IntervalsDrawWholeClusters) {
  Random random(1, "points");
  std::vector<double> x, y;
  std::vector<std::string> alone, together;
  for (int i = 0; i < 60; ++i) {
    x.push_back(random.normal());
    y.push_back(x.back() + random.normal());
    alone.push_back(std::to_string(i));
    together.push_back(std::to_string(i / 30));
  }
  const Correlation found = correlate(x, y, alone, false);
  EXPECT_EQ(found.clusters, 60);
  EXPECT_LT(found.low, found.value);
  EXPECT_GT(found.high, found.value);
  EXPECT_GT(found.low, 0.3);
  EXPECT_LT(found.high, 0.95);
  EXPECT_EQ(correlate(x, y, alone, false).low, found.low) << "the same drawings each time";
  EXPECT_TRUE(std::isnan(correlate(x, y, together, false).low)) << "two clusters say nothing of their spread";
}

}  // namespace
}  // namespace introspect
