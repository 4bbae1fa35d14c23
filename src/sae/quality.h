// How good a SAE is on a text: the check at load, and what training reports.
#pragma once

#include "base/json.h"
#include "model/model.h"
#include "sae/sae.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Sums over positions; add() any number of times.
class SaeQuality {
 public:
  explicit SaeQuality(const Sae& sae);
  void add(const Sae& sae, const at::Tensor& x);  // [N, D] residual states as the model computes them
  void add(const SaeQuality& other);              // of the same SAE, on other text

  int64_t positions() const { return positions_; }
  double explained_variance() const;  // 1 - sum |x - x̂|² / sum |x - mean x|²; can be negative
  double l0() const;                  // active latents a position, mean
  double dead_share() const;          // latents that never fired on the text
  at::Tensor fired() const;           // [L] int64: positions on which each fired

 private:
  int64_t positions_ = 0;
  double squared_error_ = 0, active_ = 0, square_sum_ = 0;
  at::Tensor sum_;    // [D] float64
  at::Tensor fired_;  // [L]
};

struct SaeReport {
  int64_t positions = 0;
  double explained_variance = 0, l0 = 0, dead_share = 0;
  // Cross-entropy a token: as the model is, with the reconstruction in place of the residual stream, and with zeros.
  double loss = 0, loss_spliced = 0, loss_zero = 0;
  double loss_recovered() const { return (loss_zero - loss_spliced) / (loss_zero - loss); }
};
Json report_to_json(const SaeReport& report);

// Sums over text, from which its report is made; those of several texts add up to that of all.
struct SaeMeasured {
  SaeQuality quality;
  double loss = 0, loss_spliced = 0, loss_zero = 0, targets = 0;  // targets: tokens that were predicted
  void add(const SaeMeasured& other);
  SaeReport report() const;  // throws Error if no position counts
};

// Documents of tokens; special tokens and the first position of each are left out of the sums (their residual states
// are outliers), and are not spliced. `special` has the ids. Three forward passes of all tokens; after each few
// thousand tokens `done` is told how many there were.
SaeMeasured measure_sae(const Model& model, const Sae& sae, const std::vector<std::vector<int64_t>>& documents,
                        const std::vector<int64_t>& special, const std::function<void(int64_t)>& done = {});

// Why a report cannot be right (explained variance below 0, nothing or nearly everything active, over 99% dead: a wrong
// layer, a wrong scale, a wrong model); empty if it can.
std::string absurd(const SaeReport& report, const Sae& sae);

}  // namespace introspect
