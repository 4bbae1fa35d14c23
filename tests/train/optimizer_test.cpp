// The optimisers against formulas written out in double precision, schedules, and the state that a resume needs.
#include "train/optimizer.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "train/checkpoint.h"
#include "train/small_world.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;
using world::random_tensor;

at::Tensor leaf(at::IntArrayRef shape, uint64_t seed) {
  return random_tensor(shape, seed).requires_grad_(true);
}

void give_gradient(const Trainable& trainable, const at::Tensor& gradient) {
  at::Tensor tensor = trainable.tensor;
  tensor.mutable_grad() = gradient.clone();
}

// AdamW as Loshchilov and Hutter 2019 write it, a number at a time.
struct PlainAdamW {
  std::vector<double> weight, first, second;
  double rate, decay;

  PlainAdamW(const at::Tensor& start, double given_rate, double given_decay)
      : first(start.numel()), second(start.numel()), rate(given_rate), decay(given_decay) {
    for (int64_t i = 0; i < start.numel(); ++i) weight.push_back(start.data_ptr<float>()[i]);
  }
  void step(const at::Tensor& gradient, double clip, double scale, int t, const OptimizerSettings& s) {
    for (size_t i = 0; i < weight.size(); ++i) {
      const double g = clip * gradient.data_ptr<float>()[i];
      first[i] = s.beta1 * first[i] + (1 - s.beta1) * g;
      second[i] = s.beta2 * second[i] + (1 - s.beta2) * g * g;
      const double mean = first[i] / (1 - std::pow(s.beta1, t)), square = second[i] / (1 - std::pow(s.beta2, t));
      weight[i] -= scale * rate * (mean / (std::sqrt(square) + s.epsilon) + decay * weight[i]);
    }
  }
};

TEST(AdamW, EqualsTheFormulasForFiveSteps) {
  OptimizerSettings settings;
  settings.beta2 = 0.95;
  settings.clip_norm = 2.0;
  const Trainable matrix{"matrix", leaf({5, 7}, 1), UpdateRule::adamw, 0.02, 0.3};
  const Trainable vector{"vector", leaf({9}, 2), UpdateRule::adamw, 0.05, 0.0};
  PlainAdamW plain_matrix(matrix.tensor.detach(), 0.02, 0.3), plain_vector(vector.tensor.detach(), 0.05, 0.0);
  Optimizer optimizer({matrix, vector}, settings);
  int clipped = 0;
  for (int t = 1; t <= 5; ++t) {
    // steps 2 and 4 stay below the clipping norm
    const double size = t % 2 == 0 ? 0.1 : 3.0;
    const at::Tensor g1 = random_tensor({5, 7}, 10 + t) * size, g2 = random_tensor({9}, 20 + t) * size;
    const double norm = std::sqrt(std::pow(g1.to(at::kDouble).norm().item<double>(), 2) +
                                  std::pow(g2.to(at::kDouble).norm().item<double>(), 2));
    const double clip = std::min(1.0, settings.clip_norm / norm), scale = 1.0 / t;
    clipped += clip < 1;
    give_gradient(matrix, g1);
    give_gradient(vector, g2);
    EXPECT_NEAR(optimizer.step(scale), norm, 1e-4);
    plain_matrix.step(g1, clip, scale, t, settings);
    plain_vector.step(g2, clip, scale, t, settings);
    for (int64_t i = 0; i < 35; ++i) EXPECT_NEAR(matrix.tensor.data_ptr<float>()[i], plain_matrix.weight[i], 2e-6);
    for (int64_t i = 0; i < 9; ++i) EXPECT_NEAR(vector.tensor.data_ptr<float>()[i], plain_vector.weight[i], 2e-6);
    EXPECT_FALSE(matrix.tensor.grad().defined());
  }
  EXPECT_EQ(clipped, 3);
  EXPECT_EQ(optimizer.steps(), 5);
}

TEST(AdamW, NoClippingWhereTheNormIsZero) {
  OptimizerSettings clipping, free;
  clipping.clip_norm = 1e-3;
  free.clip_norm = 0;
  // the update of a first step hides the gradient's size; epsilon brings it out
  clipping.epsilon = free.epsilon = 1.0;
  const Trainable a{"a", leaf({4}, 1), UpdateRule::adamw, 1.0, 0}, b{"b", leaf({4}, 1), UpdateRule::adamw, 1.0, 0};
  Optimizer first({a}, clipping), second({b}, free);
  const at::Tensor start = a.tensor.detach().clone(), gradient = at::ones({4}) * 5;
  give_gradient(a, gradient);
  give_gradient(b, gradient);
  first.step(1);
  second.step(1);
  EXPECT_LT(difference(a.tensor.detach(), start), 1e-3);
  EXPECT_NEAR(difference(b.tensor.detach(), start), 5.0 / 6.0, 1e-5);
}

// Singular values by the eigenvalues of G G^T, smallest first.
at::Tensor squared_singular_values(const at::Tensor& matrix) {
  const at::Tensor m = matrix.to(at::kDouble);
  const at::Tensor gram = m.size(0) < m.size(1) ? at::mm(m, m.t()) : at::mm(m.t(), m);
  return std::get<0>(at::linalg_eigh(gram));
}

TEST(Muon, StepsAlongANearlyOrthogonalMatrix) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{24, 40}, {40, 24}, {32, 32}}) {
    at::Tensor weight = at::zeros({rows, columns}).requires_grad_(true);
    const Trainable trainable{"matrix", weight, UpdateRule::muon, 0.5, 0};
    Optimizer optimizer({trainable}, {});
    const at::Tensor gradient = random_tensor({rows, columns}, 3) * 1e-3;
    give_gradient(trainable, gradient);
    optimizer.step(1);
    const double shape = std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
    const at::Tensor direction = weight.detach() / (-0.5 * shape);
    const at::Tensor squares = squared_singular_values(direction);
    EXPECT_LT(squares.max().item<double>(), 1.3 * 1.3) << rows << "x" << columns;
    if (rows != columns) {
      // a square random matrix has singular values too near zero for five steps
      EXPECT_GT(squares.min().item<double>(), 0.5 * 0.5) << rows << "x" << columns;
    }
    // the same singular vectors: direction^T gradient is symmetric and positive
    const at::Tensor product = at::mm(direction.t(), gradient) * 1e3;
    EXPECT_LT(difference(product, product.t()), 0.05 * product.abs().max().item<double>());
    EXPECT_GT(product.diagonal().min().item<double>(), 0);
    EXPECT_GT(
        squared_singular_values(gradient).max().item<double>() / squared_singular_values(gradient).min().item<double>(),
        20.0)
        << "the gradient was orthogonal already";
  }
}

TEST(Muon, MomentumCarriesOn) {
  at::Tensor weight = at::zeros({8, 12}).requires_grad_(true);
  const Trainable trainable{"matrix", weight, UpdateRule::muon, 1.0, 0.5};
  Optimizer optimizer({trainable}, {});
  give_gradient(trainable, random_tensor({8, 12}, 1));
  optimizer.step(1);
  const at::Tensor after_one = weight.detach().clone();
  give_gradient(trainable, at::zeros({8, 12}));
  optimizer.step(1);
  // half of the weight decays, and the old gradient's direction comes once more
  EXPECT_LT(difference(weight.detach(), after_one * 1.5), 0.02);
}

TEST(Muon, RefusesWhatIsNoMatrix) {
  EXPECT_TRUE(holds(error_of([] {
                      Optimizer({Trainable{"norm.weight", leaf({6}, 1), UpdateRule::muon}}, {});
                    }),
                    "'norm.weight': Muon needs a matrix, got 1 dimensions"));
}

TEST(Optimizer, AGradientThatIsNotANumberChangesNothing) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const Trainable a{"a", leaf({3, 4}, 1), UpdateRule::adamw, 0.1, 0.1};
    const Trainable b{"b", leaf({3, 4}, 2), UpdateRule::muon, 0.1, 0.1};
    Optimizer optimizer({a, b}, {});
    give_gradient(a, random_tensor({3, 4}, 3));
    give_gradient(b, random_tensor({3, 4}, 4));
    optimizer.step(1);
    const at::Tensor before_a = a.tensor.detach().clone(), before_b = b.tensor.detach().clone();
    std::vector<at::Tensor> moments;
    for (const auto& [name, tensor] : optimizer.state()) moments.push_back(tensor.clone());
    at::Tensor gradient = random_tensor({3, 4}, 5);
    gradient[1][2].fill_(bad);
    give_gradient(a, gradient);
    give_gradient(b, random_tensor({3, 4}, 6));
    EXPECT_FALSE(std::isfinite(optimizer.step(1)));
    EXPECT_TRUE(at::equal(a.tensor, before_a));
    EXPECT_TRUE(at::equal(b.tensor, before_b));
    EXPECT_EQ(optimizer.steps(), 1);
    for (size_t i = 0; i < moments.size(); ++i) EXPECT_TRUE(at::equal(optimizer.state()[i].second, moments[i]));
    EXPECT_FALSE(a.tensor.grad().defined()) << "the bad gradient would be added to the next one";
  }
}

TEST(Optimizer, ATensorThatTookNoPartIsAnErrorUnlessItMayRest) {
  Trainable a{"a", leaf({3}, 1)}, b{"b", leaf({3}, 2)};
  give_gradient(a, at::ones({3}));
  EXPECT_TRUE(holds(error_of([&] { Optimizer({a, b}, {}).step(1); }), "'b' has no gradient"));
  b.may_rest = true;
  b.weight_decay = 0.5;
  const at::Tensor before = b.tensor.detach().clone();
  Optimizer({a, b}, {}).step(1);
  EXPECT_TRUE(at::equal(b.tensor, before));
}

TEST(Schedule, Values) {
  Schedule schedule{Schedule::Kind::constant, 4, 24, 0.1};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.at(2), 0.75);
  EXPECT_DOUBLE_EQ(schedule.at(3), 1);
  EXPECT_DOUBLE_EQ(schedule.at(23), 1);
  schedule.kind = Schedule::Kind::linear;
  EXPECT_DOUBLE_EQ(schedule.at(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.at(4), 1);
  EXPECT_DOUBLE_EQ(schedule.at(14), 0.55);
  EXPECT_DOUBLE_EQ(schedule.at(24), 0.1);
  EXPECT_DOUBLE_EQ(schedule.at(99), 0.1);
  schedule.kind = Schedule::Kind::cosine;
  EXPECT_DOUBLE_EQ(schedule.at(4), 1);
  EXPECT_NEAR(schedule.at(9), 0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
  EXPECT_NEAR(schedule.at(14), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(24), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ((Schedule{Schedule::Kind::cosine, 0, 1, 0}).at(0), 1);
  EXPECT_EQ(parse_schedule("linear"), Schedule::Kind::linear);
  EXPECT_TRUE(holds(error_of([] { parse_schedule("sine"); }), "'sine', expected constant, cosine or linear"));
}

TEST(TrainingState, AResumedOptimiserGoesOnBitForBit) {
  const TemporaryFolder folder;
  const auto fresh = [] {
    return std::vector<Trainable>{{"a", leaf({6, 5}, 1), UpdateRule::muon, 0.02, 0.1},
                                  {"b", leaf({6}, 2), UpdateRule::adamw, 0.01, 0.1}};
  };
  const auto run = [](Optimizer& optimizer, int first, int last) {
    for (int t = first; t < last; ++t) {
      give_gradient(optimizer.trainables()[0], random_tensor({6, 5}, 30 + t));
      give_gradient(optimizer.trainables()[1], random_tensor({6}, 40 + t));
      optimizer.step(1.0 / (1 + t));
    }
  };
  Optimizer whole(fresh(), {});
  run(whole, 0, 5);

  Optimizer begun(fresh(), {});
  run(begun, 0, 3);
  NamedTensors tensors = begun.state();
  for (const Trainable& each : begun.trainables()) tensors.emplace_back("weight." + each.name, each.tensor);
  const Json state{{"step", 3}, {"words", "a \"quoted\" word\n"}, {"list", {1, 2.5, nullptr}}};
  save_training_state(folder / "deep/state.safetensors", tensors, state);

  const TrainingState read = load_training_state(folder / "deep/state.safetensors");
  EXPECT_EQ(read.state, state);
  EXPECT_EQ(read.tensors.size(), tensors.size());
  Optimizer resumed(fresh(), {});
  read.copy_into({{"a", resumed.trainables()[0].tensor}, {"b", resumed.trainables()[1].tensor}}, "weight.");
  resumed.restore(3, read.tensors);
  run(resumed, 3, 5);
  for (int i : {0, 1}) EXPECT_TRUE(at::equal(resumed.trainables()[i].tensor, whole.trainables()[i].tensor));
  EXPECT_EQ(resumed.steps(), 5);
}

TEST(TrainingState, Errors) {
  const TemporaryFolder folder;
  const fs::path file = folder / "state.safetensors";
  save_training_state(file, {{"weight.a", at::ones({2, 3})}}, {{"step", 1}});
  const TrainingState state = load_training_state(file);
  at::Tensor other = at::zeros({3, 2});
  EXPECT_TRUE(holds(error_of([&] {
                      state.copy_into({{"b", at::zeros({2, 3})}}, "weight.");
                    }),
                    "'weight.b' is missing"));
  EXPECT_TRUE(holds(error_of([&] { state.copy_into({{"a", other}}, "weight."); }), "'weight.a'"));
  EXPECT_EQ(other.abs().sum().item<double>(), 0);
  Optimizer optimizer({Trainable{"a", leaf({2, 3}, 1)}}, {});
  EXPECT_TRUE(holds(error_of([&] { optimizer.restore(1, state.tensors); }), "'first.a' is missing"));
  EXPECT_TRUE(holds(error_of([&] { optimizer.restore(1, {{"first.a", other}}); }), "another shape"));

  write_safetensors(folder / "plain.safetensors", {{"a", at::ones({2})}});
  EXPECT_TRUE(holds(error_of([&] { load_training_state(folder / "plain.safetensors"); }), "plain.safetensors"));
  const std::string bytes = read_text(file);
  folder.write("cut.safetensors", bytes.substr(0, bytes.size() - 5));
  EXPECT_TRUE(holds(error_of([&] { load_training_state(folder / "cut.safetensors"); }), "cut.safetensors"));
  EXPECT_TRUE(holds(error_of([&] { load_training_state(folder / "none.safetensors"); }), "none.safetensors"));
}

}  // namespace
}  // namespace introspect
