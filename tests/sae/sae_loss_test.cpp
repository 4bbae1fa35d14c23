// The loss and its hand-written gradients against the same formulas in autograd, and the sparse products against
// dense ones.
#include "sae/sae_loss.h"

#include "model/tiny_model.h"
#include "sae/sparse_rows.h"

#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;

constexpr int64_t kPositions = 40, kLatents = 37, kWidth = 21;  // none a multiple of a vector's width

SaeWeights random_weights(bool jump) {
  SaeWeights w;
  w.encoder = random_tensor({kLatents, kWidth}, 1) * 0.3;
  w.encoder_bias = random_tensor({kLatents}, 2) * 0.1;
  w.decoder = random_tensor({kLatents, kWidth}, 3) * 0.2;
  w.decoder_bias = random_tensor({kWidth}, 4) * 0.2;
  if (jump) w.threshold = random_tensor({kLatents}, 5).abs() * 0.5 + 0.4;
  return w;
}

std::vector<at::Tensor*> members(SaeWeights& w) {
  std::vector<at::Tensor*> list{&w.encoder, &w.encoder_bias, &w.decoder, &w.decoder_bias};
  if (w.threshold.defined()) list.push_back(&w.threshold);
  return list;
}

// Dense, by autograd. What is straight-through is written as a value that does not change plus a slope times the
// distance from where we stand, which is zero.
double reference(SaeWeights& w, const SaeLossSettings& s, const at::Tensor& x, const at::Tensor& dead) {
  for (at::Tensor* each : members(w)) each->requires_grad_(true);
  const auto N = static_cast<double>(x.size(0)), D = static_cast<double>(x.size(1));
  const at::Tensor pre = at::matmul(x - w.decoder_bias, w.encoder.t()) + w.encoder_bias;
  at::Tensor activations, loss;
  if (s.kind == SaeKind::topk) {
    const auto [values, places] = at::relu(pre).topk(s.k, 1);
    activations = at::zeros_like(pre).scatter(1, places, values);
    loss = at::zeros({});
  } else {
    const at::Tensor threshold = w.threshold.detach(), moved = w.threshold - threshold;
    const at::Tensor open = (pre.detach() > threshold).to(at::kFloat);
    const at::Tensor near = (pre.detach() - threshold).abs().lt(0.5 * s.bandwidth) * pre.detach().gt(0);
    const at::Tensor window = near.to(at::kFloat) / s.bandwidth;
    activations = pre * open - window * threshold * moved;
    const at::Tensor l0 = (open - window * moved).sum() / N;
    loss = s.sparsity_weight * (l0 / s.l0_target - 1).square();
  }
  const at::Tensor error = x - (at::matmul(activations, w.decoder) + w.decoder_bias);
  loss = loss + error.square().sum() / (N * D);
  if (dead.numel() > 0) {
    const at::Tensor few = at::relu(pre.index_select(1, dead));
    const auto [values, places] = few.topk(std::min<int64_t>(s.auxiliary_k, dead.numel()), 1);
    const at::Tensor revived = at::zeros_like(few).scatter(1, places, values);
    const at::Tensor missing = error.detach();
    const at::Tensor left = missing - at::matmul(revived, w.decoder.index_select(0, dead));
    loss = loss + s.auxiliary_weight * left.square().sum() / missing.square().sum();
  }
  loss.backward();
  return loss.item<double>();
}

void check_gradients(const SaeLossSettings& settings, const at::Tensor& dead) {
  const at::Tensor x = random_tensor({kPositions, kWidth}, 6) * 2;
  SaeWeights w = random_weights(settings.kind == SaeKind::jumprelu);
  SaeLoss loss = sae_loss(w, settings, x, dead);
  SaeWeights expected = random_weights(settings.kind == SaeKind::jumprelu);
  const double total = reference(expected, settings, x, dead);
  EXPECT_NEAR(loss.reconstruction + loss.sparsity + loss.auxiliary, total, 1e-5 * std::abs(total));
  const auto got = members(loss.gradient), wanted = members(expected);
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double size = wanted[i]->grad().abs().max().item<double>();
    EXPECT_GT(size, 0) << i;
    EXPECT_LT(difference(*got[i], wanted[i]->grad()), 1e-5 + 1e-4 * size) << i;
  }
}

SaeLossSettings topk_settings() {
  SaeLossSettings settings;
  settings.k = 5;
  return settings;
}

SaeLossSettings jumprelu_settings() {
  SaeLossSettings settings;
  settings.kind = SaeKind::jumprelu;
  settings.l0_target = 3;
  settings.bandwidth = 0.6;
  settings.sparsity_weight = 0.7;
  return settings;
}

TEST(SaeLoss, GradientsOfTopK) {
  check_gradients(topk_settings(), at::empty({0}, at::kLong));
}

TEST(SaeLoss, GradientsOfTopKWithDeadLatents) {
  SaeLossSettings settings = topk_settings();
  settings.auxiliary_k = 3;
  settings.auxiliary_weight = 0.5;
  check_gradients(settings, test::rows_of({0, 4, 7, 11, 30, 36}));
  settings.auxiliary_k = 64;  // more than there are
  check_gradients(settings, test::rows_of({2, 3}));
}

TEST(SaeLoss, GradientsOfJumpRelu) {
  check_gradients(jumprelu_settings(), at::empty({0}, at::kLong));
  SaeLossSettings wide = jumprelu_settings();
  wide.bandwidth = 3;  // the window reaches below 0
  wide.auxiliary_k = 2;
  check_gradients(wide, test::rows_of({1, 20, 21}));
}

// A finite difference sees the whole loss of topk: nothing in it is straight-through.
TEST(SaeLoss, FiniteDifferenceOfTopK) {
  const at::Tensor x = random_tensor({kPositions, kWidth}, 6) * 2, none = at::empty({0}, at::kLong);
  SaeWeights w = random_weights(false);
  const SaeLossSettings settings = topk_settings();
  SaeLoss loss = sae_loss(w, settings, x, none);
  const auto gradients = members(loss.gradient);
  for (size_t i = 0; i < gradients.size(); ++i) {
    // too small a step to change which latents are active, for nearly all positions
    const at::Tensor direction = *gradients[i] / gradients[i]->norm() * 2e-3;
    SaeWeights ahead = random_weights(false), behind = random_weights(false);
    members(ahead)[i]->add_(direction);
    members(behind)[i]->sub_(direction);
    const double slope =
        sae_loss(ahead, settings, x, none).reconstruction - sae_loss(behind, settings, x, none).reconstruction;
    const double expected = 2 * (direction * *gradients[i]).sum().item<double>();
    EXPECT_NEAR(slope, expected, 0.05 * std::abs(expected)) << i;
  }
}

TEST(SaeLoss, TheLossIsThatOfTheSaeInUse) {
  const at::Tensor x = random_tensor({kPositions, kWidth}, 6) * 2, none = at::empty({0}, at::kLong);
  for (const SaeLossSettings& settings : {topk_settings(), jumprelu_settings()}) {
    const SaeWeights w = random_weights(settings.kind == SaeKind::jumprelu);
    const SaeLoss loss = sae_loss(w, settings, x, none);
    Sae sae;
    sae.kind = settings.kind;
    sae.k = settings.k;
    sae.encoder = w.encoder;
    sae.encoder_bias = w.encoder_bias;
    sae.decoder = w.decoder;
    sae.decoder_bias = w.decoder_bias;
    sae.threshold = w.threshold;
    const at::Tensor activations = encode(sae, x);
    EXPECT_NEAR(loss.reconstruction, (x - decode(sae, activations, x)).square().mean().item<double>(), 1e-5);
    EXPECT_NEAR(loss.l0, activations.gt(0).sum(1).to(at::kDouble).mean().item<double>(), 1e-9);
    EXPECT_TRUE(at::equal(at::tensor(loss.fired, at::kLong), activations.gt(0).sum(0)));
  }
}

// Products of bfloat16 may choose otherwise among nearly equal latents; values stay exact.
TEST(SaeLoss, ProductsInBfloat16ChangeLittle) {
  const at::Tensor x = random_tensor({300, kWidth}, 6) * 2, none = at::empty({0}, at::kLong);
  for (SaeLossSettings settings : {topk_settings(), jumprelu_settings()}) {
    const SaeWeights w = random_weights(settings.kind == SaeKind::jumprelu);
    const SaeLoss exact = sae_loss(w, settings, x, none);
    settings.compute = at::kBFloat16;
    const SaeLoss mixed = sae_loss(w, settings, x, none);
    EXPECT_NEAR(mixed.reconstruction, exact.reconstruction, 0.01 * exact.reconstruction);
    // all that is above a threshold is found, whatever the rounding
    if (settings.kind == SaeKind::jumprelu) {
      EXPECT_EQ(mixed.fired, exact.fired);
    }
  }
}

TEST(SaeLoss, OtherKindsAreRefused) {
  SaeLossSettings settings;
  settings.kind = SaeKind::gated;
  EXPECT_THROW(sae_loss(random_weights(false), settings, random_tensor({2, kWidth}, 6), {}), std::exception);
}

at::Tensor dense(const SparseRows& rows, const std::vector<float>& values, int64_t latents) {
  at::Tensor result = at::zeros({rows.rows(), latents});
  for (int64_t n = 0; n < rows.rows(); ++n) {
    for (int64_t e = rows.start[n]; e < rows.start[n + 1]; ++e) result[n][rows.latent[e]] = values[e];
  }
  return result;
}

TEST(SparseRows, LargestIsTopK) {
  for (int64_t latents : {1, 5, 16, 33, 200}) {
    for (int64_t count : {1, 4, 40}) {
      const at::Tensor scores = random_tensor({50, latents}, static_cast<uint64_t>(latents + count));
      SparseRows rows;
      append_largest(rows, scores, count);
      const auto [values, places] = at::relu(scores).topk(std::min(count, latents), 1);
      const at::Tensor expected = at::zeros_like(scores).scatter(1, places, values);
      std::vector<float> found;
      for (int64_t n = 0; n < rows.rows(); ++n) {
        for (int64_t e = rows.start[n]; e < rows.start[n + 1]; ++e) {
          if (e > rows.start[n]) {
            EXPECT_LT(rows.latent[e - 1], rows.latent[e]);
          }
          found.push_back(scores[n][rows.latent[e]].item<float>());
        }
      }
      EXPECT_EQ(difference(dense(rows, found, latents), expected), 0) << latents << " " << count;
    }
  }
  // of equals the first; nothing that is not above 0
  SparseRows rows;
  append_largest(rows, at::full({1, 40}, 2.0f), 3);
  append_largest(rows, at::zeros({1, 40}), 3);
  EXPECT_EQ(rows.latent, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(rows.start, (std::vector<int64_t>{0, 3, 3}));
}

TEST(SparseRows, ProductsAreTheDenseOnes) {
  const at::Tensor scores = random_tensor({kPositions, kLatents}, 1), b = random_tensor({kLatents, kWidth}, 2);
  const at::Tensor a = random_tensor({kPositions, kWidth}, 3);
  SparseRows rows;
  append_above(rows, scores, at::full({kLatents}, 0.5f));
  const at::Tensor mask = scores.gt(0.5).to(at::kFloat);
  std::vector<float> ones(rows.latent.size(), 1);
  EXPECT_EQ(difference(dense(rows, ones, kLatents), mask), 0);
  const std::vector<float> dots = dot_entries(rows, a, b);
  const at::Tensor expected = at::matmul(a, b.t()) * mask;
  EXPECT_LT(difference(dense(rows, dots, kLatents), expected), 1e-5);
  EXPECT_LT(difference(sum_of_latents(rows, dots, b), at::matmul(expected, b)), 1e-4);
  at::Tensor outer = at::ones({kLatents, kWidth});
  add_outer(rows, dots, a, outer);
  EXPECT_LT(difference(outer, at::matmul(expected.t(), a) + 1), 1e-4);
  at::Tensor sums = at::ones({kLatents});
  add_values(rows, dots, sums);
  EXPECT_LT(difference(sums, expected.sum(0) + 1), 1e-4);
}

}  // namespace
}  // namespace introspect
