#include "sae/sae_loss.h"

#include "base/error.h"
#include "sae/sparse_rows.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// Pre-activations held at once: 2 MB, which the processor's cache holds and the allocator keeps.
constexpr int64_t kScoresAtOnce = int64_t{1} << 19;
// How far a pre-activation of bfloat16 products may be from the exact one, for inputs of norm sqrt(D), generously.
constexpr double kRoundingMargin = 0.1;

struct Entries {
  SparseRows rows;
  std::vector<float> pre;  // exact
};

// The latents of each position that a term is about, and the dead ones for the auxiliary term.
struct Selection {
  Entries active, dead;
};

std::vector<float> exact_pre(const SparseRows& rows, const SaeWeights& w, const at::Tensor& centred) {
  std::vector<float> pre = dot_entries(rows, centred, w.encoder);
  const float* bias = w.encoder_bias.data_ptr<float>();
  for (size_t e = 0; e < pre.size(); ++e) pre[e] += bias[rows.latent[e]];
  return pre;
}

Selection select(const SaeWeights& w, const SaeLossSettings& s, const at::Tensor& centred, const at::Tensor& dead) {
  const bool mixed = s.compute == at::kBFloat16;
  const at::Tensor encoder = mixed ? w.encoder.to(at::kBFloat16) : w.encoder;
  const bool auxiliary = dead.defined() && dead.numel() > 0 && s.auxiliary_k > 0 && s.auxiliary_weight > 0;
  const at::Tensor limit =
      s.kind == SaeKind::jumprelu
          // thresholds learn from what is just below them too
          ? (w.threshold - (0.5 * s.bandwidth + (mixed ? kRoundingMargin : 0))).clamp_min(0).contiguous()
          : at::Tensor();
  Selection selection;
  const int64_t step = std::max<int64_t>(1, kScoresAtOnce / encoder.size(0));
  for (int64_t begin = 0; begin < centred.size(0); begin += step) {
    const at::Tensor part = centred.narrow(0, begin, std::min(step, centred.size(0) - begin));
    const at::Tensor scores =
        at::linear(mixed ? part.to(at::kBFloat16) : part, encoder).to(at::kFloat).add_(w.encoder_bias);
    if (s.kind == SaeKind::topk) {
      append_largest(selection.active.rows, scores, s.k);
    } else {
      append_above(selection.active.rows, scores, limit);
    }
    if (auxiliary) append_largest(selection.dead.rows, scores.index_select(1, dead), s.auxiliary_k);
  }
  if (auxiliary) {
    const int64_t* index = dead.data_ptr<int64_t>();
    for (int32_t& latent : selection.dead.rows.latent) latent = static_cast<int32_t>(index[latent]);
    selection.dead.pre = exact_pre(selection.dead.rows, w, centred);
  }
  selection.active.pre = exact_pre(selection.active.rows, w, centred);
  return selection;
}

// Adds to the gradient what flows through activations into decoder, encoder and both biases. `output` [N, D] is the
// gradient of the sum of latents, `pre` that of the pre-activations.
void add_gradients(SaeWeights& gradient, const SaeWeights& w, const SparseRows& rows,
                   const std::vector<float>& activations, const std::vector<float>& pre, const at::Tensor& centred,
                   const at::Tensor& output) {
  add_outer(rows, activations, output, gradient.decoder);
  add_outer(rows, pre, centred, gradient.encoder);
  at::Tensor bias = at::zeros_like(w.encoder_bias);
  add_values(rows, pre, bias);
  gradient.encoder_bias += bias;
  gradient.decoder_bias -= at::matmul(bias, w.encoder);  // the input is x - decoder_bias
}

std::vector<float> relu(const std::vector<float>& pre) {
  std::vector<float> result(pre.size());
  for (size_t e = 0; e < pre.size(); ++e) result[e] = std::max(0.0f, pre[e]);
  return result;
}

}  // namespace

SaeLoss sae_loss(const SaeWeights& w, const SaeLossSettings& s, const at::Tensor& x, const at::Tensor& dead) {
  c10::NoGradGuard guard;
  if (s.kind != SaeKind::topk && s.kind != SaeKind::jumprelu) {
    fail("sae", fmt::format("training of kind {}: expected topk or jumprelu", sae_kind_name(s.kind)));
  }
  const auto N = static_cast<double>(x.size(0)), D = static_cast<double>(x.size(1));
  const bool jump = s.kind == SaeKind::jumprelu;
  SaeLoss loss;
  loss.fired.assign(w.encoder.size(0), 0);
  loss.gradient = {at::zeros_like(w.encoder), at::zeros_like(w.encoder_bias), at::zeros_like(w.decoder), {}, {}};

  const at::Tensor centred = (x - w.decoder_bias).contiguous();
  const Selection selection = select(w, s, centred, dead);
  const auto& [rows, pre] = selection.active;
  std::vector<float> activations = relu(pre);
  if (jump) {
    const float* threshold = w.threshold.data_ptr<float>();
    for (size_t e = 0; e < pre.size(); ++e) {
      if (!(pre[e] > threshold[rows.latent[e]])) activations[e] = 0;
    }
  }
  int64_t active = 0;
  for (size_t e = 0; e < pre.size(); ++e) {
    if (activations[e] <= 0) continue;
    ++loss.fired[rows.latent[e]];
    ++active;
  }
  loss.l0 = static_cast<double>(active) / N;

  const at::Tensor error = sum_of_latents(rows, activations, w.decoder) - centred;  // x̂ - x
  loss.reconstruction = error.square().sum().item<double>() / (N * D);
  const at::Tensor output = error * (2 / (N * D));
  loss.gradient.decoder_bias = output.sum(0);
  std::vector<float> flow = dot_entries(rows, output, w.decoder);  // to the activations
  if (jump) {
    const double excess = loss.l0 / s.l0_target - 1;
    loss.sparsity = s.sparsity_weight * excess * excess;
    const double each = s.sparsity_weight * 2 * excess / (s.l0_target * N);  // of one latent's being active
    loss.gradient.threshold = at::zeros_like(w.threshold);
    const float* threshold = w.threshold.data_ptr<float>();
    float* gradient = loss.gradient.threshold.data_ptr<float>();
    for (size_t e = 0; e < pre.size(); ++e) {
      const int32_t latent = rows.latent[e];
      if (pre[e] <= 0 || std::abs(pre[e] - threshold[latent]) >= 0.5 * s.bandwidth) continue;
      gradient[latent] -= static_cast<float>((threshold[latent] * flow[e] + each) / s.bandwidth);
    }
  }
  for (size_t e = 0; e < pre.size(); ++e) {
    if (activations[e] <= 0) flow[e] = 0;
  }
  add_gradients(loss.gradient, w, rows, activations, flow, centred, output);

  if (selection.dead.rows.entries() > 0) {
    const auto& [dead_rows, dead_pre] = selection.dead;
    const double missing = error.square().sum().item<double>();
    const std::vector<float> revived = relu(dead_pre);
    const at::Tensor left = sum_of_latents(dead_rows, revived, w.decoder) + error;  // ê - e
    loss.auxiliary = s.auxiliary_weight * left.square().sum().item<double>() / std::max(missing, 1e-30);
    const at::Tensor outflow = left * (2 * s.auxiliary_weight / std::max(missing, 1e-30));
    std::vector<float> inflow = dot_entries(dead_rows, outflow, w.decoder);
    for (size_t e = 0; e < inflow.size(); ++e) {
      if (revived[e] <= 0) inflow[e] = 0;
    }
    add_gradients(loss.gradient, w, dead_rows, revived, inflow, centred, outflow);
  }
  return loss;
}

}  // namespace introspect
