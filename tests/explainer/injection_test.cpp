// How a vector becomes a row of the explainer's input, and what stands in for it in the floors.
#include "explainer/injection.h"

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "explainer/small_questions.h"

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;
using world::random_tensor;

at::Tensor rows_of(const at::Tensor& vectors, InjectionPolicy policy, double scale = 1, double norm = 1) {
  InjectionConfig config;
  config.policy = policy;
  config.scale = scale;
  return inject(config, {}, vectors, std::vector<int64_t>(vectors.size(0), 3), vectors.size(1), norm);
}

TEST(Injection, Policies) {
  const at::Tensor vectors = random_tensor({5, 8}, 1) * 7;
  EXPECT_TRUE(at::equal(rows_of(vectors, InjectionPolicy::raw, 3, 2), vectors));
  const at::Tensor directions = vectors / vectors.norm(2, 1, true);
  EXPECT_LT(difference(rows_of(vectors, InjectionPolicy::unit, 3, 2), directions * 3), 1e-5);
  EXPECT_LT(difference(rows_of(vectors, InjectionPolicy::norm_matched, 3, 2), directions * 6), 1e-5);
}

TEST(Injection, ZeroStaysZero) {
  for (const InjectionPolicy policy : {InjectionPolicy::raw, InjectionPolicy::unit, InjectionPolicy::norm_matched}) {
    at::Tensor vectors = random_tensor({3, 8}, 1);
    vectors[1].zero_();
    const at::Tensor rows = rows_of(vectors, policy, 5, 2);
    EXPECT_EQ(rows[1].abs().sum().item<double>(), 0);
    EXPECT_GT(rows[0].abs().sum().item<double>(), 0);
  }
  // through a projection, and its gradient is a number
  InjectionConfig config;
  config.projection = ProjectionKind::random;
  Projections projections = make_projections(ProjectionKind::random, {3}, 8, 6, 1);
  projections.at(3).requires_grad_(true);
  const at::Tensor rows = inject(config, projections, at::zeros({2, 8}), {3, 3}, 6, 1);
  EXPECT_EQ(rows.abs().sum().item<double>(), 0);
  (rows * random_tensor({2, 6}, 2)).sum().backward();
  EXPECT_EQ(projections.at(3).grad().abs().sum().item<double>(), 0);
}

TEST(Injection, EachLayerHasItsProjection) {
  InjectionConfig config;
  config.policy = InjectionPolicy::raw;
  config.projection = ProjectionKind::random;
  const Projections projections = make_projections(ProjectionKind::random, {3, 1, 3}, 8, 6, 1);
  ASSERT_EQ(projections.size(), 2u);
  const at::Tensor vectors = random_tensor({3, 8}, 1);
  const at::Tensor rows = inject(config, projections, vectors, {3, 1, 3}, 6, 1);
  for (const auto& [row, layer] : {std::pair<int64_t, int64_t>{0, 3}, {1, 1}, {2, 3}}) {
    EXPECT_LT(difference(rows[row], at::mv(projections.at(layer), vectors[row])), 1e-5);
  }
  EXPECT_TRUE(holds(error_of([&] { inject(config, projections, vectors, {3, 1, 2}, 6, 1); }), "layer 2"));
}

TEST(Injection, ProjectionKinds) {
  const Projections identity = make_projections(ProjectionKind::identity, {0, 4}, 6, 6, 1);
  EXPECT_TRUE(at::equal(identity.at(4), at::eye(6)));
  EXPECT_TRUE(make_projections(ProjectionKind::none, {0}, 6, 6, 1).empty());
  EXPECT_TRUE(holds(error_of([] { make_projections(ProjectionKind::identity, {0}, 6, 8, 1); }), "width 6 to 8"));
  const Projections random = make_projections(ProjectionKind::random, {0, 1}, 400, 300, 1);
  EXPECT_EQ(random.at(0).sizes(), (at::IntArrayRef{300, 400}));
  // of deviation 1/sqrt(d_target): it keeps norms on the whole
  EXPECT_NEAR((random.at(0) * random.at(0)).mean().item<double>() * 400, 1, 0.02);
  EXPECT_NEAR(random.at(0).mean().item<double>(), 0, 0.001);
  EXPECT_GT(difference(random.at(0), random.at(1)), 0.05);
  EXPECT_TRUE(at::equal(random.at(1), make_projections(ProjectionKind::random, {1}, 400, 300, 1).at(1)));
  EXPECT_GT(difference(random.at(1), make_projections(ProjectionKind::random, {1}, 400, 300, 2).at(1)), 0.05);
}

TEST(Injection, LeastSquaresFindsALinearMap) {
  const at::Tensor map = random_tensor({7, 12}, 1), target = random_tensor({200, 12}, 2) * 3;
  const at::Tensor fitted = fit_projection(target, at::mm(target, map.t()), 1e-8);
  EXPECT_EQ(fitted.sizes(), map.sizes());
  EXPECT_LT(difference(fitted, map), 1e-4);
  // with noise on what it should give, it is near; a strong ridge shrinks it
  const at::Tensor noisy = at::mm(target, map.t()) + random_tensor({200, 7}, 3) * 0.1;
  EXPECT_LT(difference(fit_projection(target, noisy), map), 0.05);
  EXPECT_LT(fit_projection(target, noisy, 10.0).norm().item<double>(), 0.2 * map.norm().item<double>());
  // fewer rows than directions: the ridge makes it a finite answer
  EXPECT_TRUE(at::isfinite(fit_projection(target.slice(0, 0, 4), noisy.slice(0, 0, 4))).all().item<bool>());
}

at::Tensor orthogonal(int64_t rows, int64_t columns, uint64_t seed) {
  const auto [u, s, v] = at::linalg_svd(random_tensor({rows, columns}, seed).to(at::kDouble), false);
  return at::mm(u, v).to(at::kFloat);
}

TEST(Injection, ProcrustesFindsARotation) {
  const at::Tensor rotation = orthogonal(12, 12, 1), target = random_tensor({200, 12}, 2) * 3;
  const auto fitted = [&](const at::Tensor& explainer) {
    return fit_orthogonal_of_sums(at::mm(target.t(), explainer).to(at::kDouble));
  };
  EXPECT_LT(difference(fitted(at::mm(target, rotation.t())), rotation), 1e-4);
  EXPECT_LT(difference(fitted(at::mm(target, rotation.t()) * 7), rotation), 1e-4) << "it stretches nothing";
  const at::Tensor noisy = at::mm(target, rotation.t()) + random_tensor({200, 12}, 3);
  const at::Tensor map = fitted(noisy);
  EXPECT_LT(difference(at::mm(map, map.t()), at::eye(12)), 1e-4);
  // no other orthogonal map comes nearer: turned a little it is further off
  const auto error = [&](const at::Tensor& each) {
    return (at::mm(target, each.t()) - noisy).pow(2).sum().item<double>();
  };
  at::Tensor turn = at::eye(12);
  turn[0][0] = turn[1][1] = std::cos(0.05);
  turn[0][1] = -std::sin(0.05);
  turn[1][0] = std::sin(0.05);
  EXPECT_LT(error(map), error(at::mm(turn, map)));
  EXPECT_LT(error(map), error(rotation));
}

TEST(Injection, ProcrustesOfUnequalWidthsIsSemiOrthogonal) {
  const at::Tensor target = random_tensor({300, 8}, 2);
  for (const int64_t width : {5, 12}) {
    const at::Tensor truth = orthogonal(width, 8, 4);
    const at::Tensor map = fit_orthogonal_of_sums(at::mm(target.t(), at::mm(target, truth.t())).to(at::kDouble));
    EXPECT_EQ(map.sizes(), (at::IntArrayRef{width, 8}));
    const at::Tensor product = width < 8 ? at::mm(map, map.t()) : at::mm(map.t(), map);
    EXPECT_LT(difference(product, at::eye(std::min<int64_t>(width, 8))), 1e-4);
    // a wider explainer has room for all of it; of a narrower one the map is near, not the same
    EXPECT_LT(difference(map, truth), width > 8 ? 1e-4 : 0.3);
  }
}

TEST(Injection, AffineIsOneScaleAndOneBiasForAllLayers) {
  InjectionConfig config;
  config.projection = ProjectionKind::affine;
  config.scale = 10;
  Projections projections = make_projections(ProjectionKind::affine, {1, 5}, 3, 3, 1);
  ASSERT_EQ(projections.size(), 1U);
  const at::Tensor vectors = at::tensor({3.f, 0.f, 4.f, 0.f, 2.f, 0.f}).reshape({2, 3});
  EXPECT_TRUE(at::allclose(inject(config, projections, vectors, {1, 5}, 3, 1),
                           at::tensor({6.f, 0.f, 8.f, 0.f, 10.f, 0.f}).reshape({2, 3})));
  projections[kAllLayers].copy_(at::tensor({1.f, 2.f, 3.f, 0.5f}).reshape({1, 4}));
  EXPECT_TRUE(at::allclose(inject(config, projections, vectors, {1, 5}, 3, 1),
                           at::tensor({4.f, 2.f, 7.f, 1.f, 7.f, 3.f}).reshape({2, 3})));
  EXPECT_THROW(inject(config, projections, vectors, {1, 5}, 4, 1), Error);
  const fs::path file = fs::temp_directory_path() / "introspect-affine.safetensors";
  save_projections(projections, file);
  EXPECT_TRUE(at::equal(load_projections(file).at(kAllLayers), projections.at(kAllLayers)));
  fs::remove(file);
}

TEST(Injection, WidthsMustAgree) {
  const std::string text = error_of([] { inject({}, {}, random_tensor({2, 8}, 1), {0, 0}, 6, 1); });
  EXPECT_TRUE(holds(text, "a vector of width 8 for an explainer of width 6"));
  EXPECT_TRUE(holds(text, "projection"));
}

TEST(Injection, ConfigThroughJson) {
  InjectionConfig config;
  config.policy = InjectionPolicy::norm_matched;
  config.scale = 2.5;
  config.layer = 1;
  config.projection = ProjectionKind::least_squares;
  config.train_projection = false;
  EXPECT_EQ(injection_to_json(parse_injection(injection_to_json(config), "x")), injection_to_json(config));
  EXPECT_EQ(injection_to_json(parse_injection(Json::object(), "x")), injection_to_json({}));
  EXPECT_TRUE(holds(error_of([] { parse_injection({{"sacle", 2}}, "x.toml"); }), "injection.sacle"));
  EXPECT_TRUE(holds(error_of([] { parse_injection({{"policy", "loud"}}, "x.toml"); }), "'loud', expected one of raw"));
  EXPECT_TRUE(holds(error_of([] { parse_injection({{"projection", "pca"}}, "x.toml"); }), "'pca'"));
  EXPECT_TRUE(holds(error_of([] { parse_injection({{"scale", "big"}}, "x.toml"); }), "scale"));
}

class Conditions : public testing::Test {
 protected:
  Dataset dataset_ = world::questions();
  std::vector<const Example*> examples_ = dataset_.of(Split::train);
  at::Tensor vectors(VectorCondition condition, uint64_t seed = 1) const {
    return condition_vectors(dataset_, examples_, condition, seed);
  }
  // Which example's vector each row is; -1: none's.
  std::vector<int64_t> sources(const at::Tensor& rows) const {
    std::vector<int64_t> found;
    for (int64_t i = 0; i < rows.size(0); ++i) {
      found.push_back(-1);
      for (size_t k = 0; k < examples_.size(); ++k) {
        if (at::equal(rows[i], dataset_.vectors[examples_[k]->vector])) found.back() = static_cast<int64_t>(k);
      }
    }
    return found;
  }
};

TEST_F(Conditions, RealAreTheExamplesOwn) {
  const auto found = sources(vectors(VectorCondition::real));
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], static_cast<int64_t>(i));
}

TEST_F(Conditions, ZeroIsZero) {
  EXPECT_EQ(vectors(VectorCondition::zero).sizes(), vectors(VectorCondition::real).sizes());
  EXPECT_EQ(vectors(VectorCondition::zero).abs().sum().item<double>(), 0);
}

TEST_F(Conditions, RandomKeepsNorms) {
  const at::Tensor real = vectors(VectorCondition::real), random = vectors(VectorCondition::random);
  EXPECT_LT(difference(random.norm(2, 1), real.norm(2, 1)), 1e-4);
  const at::Tensor cosines = at::cosine_similarity(random, real, 1);
  EXPECT_LT(cosines.abs().mean().item<double>(), 0.4);
  EXPECT_GT(difference(random[0], random[1]), 0.01);
}

TEST_F(Conditions, ShuffledIsAPermutationWithoutFixedPoints) {
  const auto found = sources(vectors(VectorCondition::shuffled));
  EXPECT_EQ(std::set<int64_t>(found.begin(), found.end()).size(), examples_.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NE(found[i], -1);
    EXPECT_NE(found[i], static_cast<int64_t>(i));
  }
}

TEST_F(Conditions, ShuffledInCellStaysInTheCell) {
  const auto found = sources(vectors(VectorCondition::shuffled_in_cell));
  EXPECT_EQ(std::set<int64_t>(found.begin(), found.end()).size(), examples_.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_GE(found[i], 0);
    EXPECT_EQ(examples_[static_cast<size_t>(found[i])]->attributes, examples_[i]->attributes);
    EXPECT_NE(found[i], static_cast<int64_t>(i));
  }
  const auto everywhere = sources(vectors(VectorCondition::shuffled));
  size_t outside = 0;
  for (size_t i = 0; i < everywhere.size(); ++i) {
    outside += examples_[static_cast<size_t>(everywhere[i])]->attributes != examples_[i]->attributes;
  }
  EXPECT_GT(outside, 5u);
}

TEST_F(Conditions, SeedsDecide) {
  for (const VectorCondition condition :
       {VectorCondition::random, VectorCondition::shuffled, VectorCondition::shuffled_in_cell}) {
    EXPECT_TRUE(at::equal(vectors(condition, 3), vectors(condition, 3))) << condition_name(condition);
    EXPECT_FALSE(at::equal(vectors(condition, 3), vectors(condition, 4))) << condition_name(condition);
  }
}

TEST_F(Conditions, NamesAndErrors) {
  for (const char* name : {"real", "zero", "random", "shuffled", "shuffled_in_cell"}) {
    EXPECT_EQ(condition_name(parse_condition(name)), name);
  }
  EXPECT_TRUE(holds(error_of([] { parse_condition("noise"); }), "'noise', expected one of real"));
  dataset_.examples[2].vector = -1;
  EXPECT_TRUE(holds(error_of([&] { vectors(VectorCondition::real); }), "'patching-000002' has no vector"));
}

}  // namespace
}  // namespace introspect
