#include "sae/quality.h"

#include "base/error.h"
#include "model/forward.h"
#include "train/loss.h"

#include <algorithm>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Activations held at once: 16 million floats.
constexpr int64_t kActivationsAtOnce = int64_t{1} << 24;
constexpr int64_t kTokensAtOnce = 2048;

struct Chosen {
  PackedTargets packed;
  at::Tensor rows;  // [M] flat positions that count: no special tokens, no first positions
};

Chosen choose(const std::vector<Document>& documents, const std::set<int64_t>& special) {
  Chosen chosen{pack_targets(documents), {}};
  std::vector<int64_t> rows;
  int64_t start = 0;
  for (const Document& document : documents) {
    for (int64_t i = 1; i < std::ssize(document.tokens); ++i) {
      if (!special.contains(document.tokens[i])) rows.push_back(start + i);
    }
    start += std::ssize(document.tokens);
  }
  chosen.rows = at::tensor(rows, at::kLong);
  return chosen;
}

double loss_with(const Model& model, const PackedTargets& packed, Tap tap) {
  Taps taps{std::move(tap)};
  ForwardOptions options;
  options.taps = &taps;
  return packed_loss(model, packed, 1.0, options).item<double>();
}

at::Tensor reconstruct(const Sae& sae, const at::Tensor& x) {
  const int64_t rows = std::max<int64_t>(1, kActivationsAtOnce / sae.latents());
  at::Tensor result = at::empty(x.sizes(), x.options().dtype(at::kFloat));
  for (int64_t begin = 0; begin < x.size(0); begin += rows) {
    const at::Tensor part = x.narrow(0, begin, std::min(rows, x.size(0) - begin));
    result.narrow(0, begin, part.size(0)).copy_(decode(sae, encode(sae, part), part));
  }
  return result;
}

}  // namespace

SaeQuality::SaeQuality(const Sae& sae)
    : sum_(at::zeros({sae.width()}, at::kDouble)), fired_(at::zeros({sae.latents()}, at::kLong)) {}

void SaeQuality::add(const Sae& sae, const at::Tensor& x) {
  c10::NoGradGuard guard;
  const int64_t rows = std::max<int64_t>(1, kActivationsAtOnce / sae.latents());
  for (int64_t begin = 0; begin < x.size(0); begin += rows) {
    const at::Tensor part = x.narrow(0, begin, std::min(rows, x.size(0) - begin));
    const at::Tensor activations = encode(sae, part);
    const at::Tensor exact = part.to(at::kDouble), active = activations.gt(0).sum(0).to(at::kCPU);
    squared_error_ += (exact - decode(sae, activations, part)).square().sum().item<double>();
    square_sum_ += exact.square().sum().item<double>();
    sum_ += exact.sum(0).to(at::kCPU);
    fired_ += active;
    active_ += active.sum().item<double>();
    positions_ += part.size(0);
  }
}

void SaeQuality::add(const SaeQuality& other) {
  squared_error_ += other.squared_error_;
  square_sum_ += other.square_sum_;
  active_ += other.active_;
  positions_ += other.positions_;
  sum_ += other.sum_;
  fired_ += other.fired_;
}

double SaeQuality::explained_variance() const {
  if (positions_ == 0) return 0;
  const double variance = square_sum_ - sum_.square().sum().item<double>() / static_cast<double>(positions_);
  return variance > 0 ? 1 - squared_error_ / variance : 0;
}

double SaeQuality::l0() const {
  return positions_ > 0 ? active_ / static_cast<double>(positions_) : 0;
}

double SaeQuality::dead_share() const {
  return fired_.eq(0).to(at::kDouble).mean().item<double>();
}

at::Tensor SaeQuality::fired() const {
  return fired_;
}

Json report_to_json(const SaeReport& report) {
  return {{"positions", report.positions},
          {"explained_variance", report.explained_variance},
          {"l0", report.l0},
          {"dead_share", report.dead_share},
          {"loss", report.loss},
          {"loss_spliced", report.loss_spliced},
          {"loss_zero", report.loss_zero},
          {"loss_recovered", report.loss_recovered()}};
}

void SaeMeasured::add(const SaeMeasured& other) {
  quality.add(other.quality);
  loss += other.loss;
  loss_spliced += other.loss_spliced;
  loss_zero += other.loss_zero;
  targets += other.targets;
}

SaeReport SaeMeasured::report() const {
  if (quality.positions() == 0) {
    fail("sae", "the text has no position to measure on",
         "special tokens and the first position of a document do not count");
  }
  SaeReport report;
  report.positions = quality.positions();
  report.explained_variance = quality.explained_variance();
  report.l0 = quality.l0();
  report.dead_share = quality.dead_share();
  report.loss = loss / targets;
  report.loss_spliced = loss_spliced / targets;
  report.loss_zero = loss_zero / targets;
  return report;
}

SaeMeasured measure_sae(const Model& model, const Sae& sae, const std::vector<std::vector<int64_t>>& documents,
                        const std::vector<int64_t>& special, const std::function<void(int64_t)>& done) {
  c10::NoGradGuard guard;
  const std::set<int64_t> left_out(special.begin(), special.end());
  std::vector<Document> weighted;
  for (const std::vector<int64_t>& tokens : documents) {
    if (tokens.size() < 2) continue;
    weighted.push_back({tokens, std::vector<float>(tokens.size(), 1)});
    weighted.back().weights[0] = 0;
  }
  SaeMeasured sums{SaeQuality(sae)};
  for (const std::vector<Document>& group : group_by_tokens(weighted, kTokensAtOnce)) {
    const Chosen chosen = choose(group, left_out);
    if (chosen.rows.numel() > 0) {
      Taps taps{Tap::capture(sae.place, chosen.rows)};
      ForwardOptions options;
      options.taps = &taps;
      sums.loss += packed_loss(model, chosen.packed, 1.0, options).item<double>();
      const at::Tensor x = taps[0].captured;
      sums.quality.add(sae, x);
      const at::Tensor spliced = reconstruct(sae, x).to(x.scalar_type());
      sums.loss_spliced += loss_with(model, chosen.packed, Tap::replace(sae.place, chosen.rows, spliced));
      sums.loss_zero += loss_with(model, chosen.packed, Tap::replace(sae.place, chosen.rows, at::zeros_like(x)));
      sums.targets += chosen.packed.weight_sum;
    }
    if (done) done(chosen.packed.input.size());
  }
  return sums;
}

std::string absurd(const SaeReport& report, const Sae& sae) {
  const auto latents = static_cast<double>(sae.latents());
  const double activations = report.l0 * static_cast<double>(report.positions);
  if (!(report.explained_variance >= 0)) {
    return fmt::format("explained variance {:.3f}: the reconstruction is worse than the mean state",
                       report.explained_variance);
  }
  if (report.l0 == 0) return "no latent is ever active";
  if (report.l0 > 0.9 * latents) {
    return fmt::format("{:.0f} of {} latents are active at a position, mean", report.l0, sae.latents());
  }
  // on a short text most latents of a wide SAE rest by right
  if (report.dead_share > 0.99 && activations > 0.1 * latents) {
    return fmt::format("{:.1f}% of {} latents never fire, though there are {:.0f} activations", 100 * report.dead_share,
                       sae.latents(), activations);
  }
  return {};
}

}  // namespace introspect
