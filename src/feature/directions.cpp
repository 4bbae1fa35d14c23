#include "feature/directions.h"

#include "base/error.h"
#include "base/random.h"
#include "model/forward.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {

namespace {

constexpr int64_t pass_pieces = 64;
constexpr int64_t product_numbers = 1 << 25;

}  // namespace

PoolStates::PoolStates(const Model& model, const Tokenizer& tokenizer, const at::Tensor& tokens,
                       const std::vector<int64_t>& layers) {
  c10::NoGradGuard no_gradients;
  if (tokens.dim() != 2 || tokens.numel() == 0) {
    fail("directions", fmt::format("a pool of {} tokens, expected [pieces, tokens]", tokens.numel()));
  }
  tokens_ = tokens.to(at::kCPU, at::kInt).contiguous();
  const int64_t P = tokens_.size(0), T = tokens_.size(1), D = model.config.d_model;
  counted_ = at::zeros({P, T}, at::kBool);
  std::vector<std::vector<int64_t>> sequences(static_cast<size_t>(P));
  for (int64_t p = 0; p < P; ++p) {
    const int32_t* piece = tokens_.data_ptr<int32_t>() + p * T;
    const int32_t* end = std::find(piece, piece + T, -1);
    if (end == piece || std::any_of(piece, end, [](int32_t token) { return token < 0; }) ||
        std::any_of(end, piece + T, [](int32_t token) { return token != -1; })) {
      fail("directions", fmt::format("piece {} of the pool is empty, or has a token behind its end", p));
    }
    sequences[static_cast<size_t>(p)].assign(piece, end);
    for (int64_t t = 1; t < end - piece; ++t) {
      counted_.data_ptr<bool>()[p * T + t] = !tokenizer.is_special(piece[t]);
    }
  }
  int64_t last_layer = 0;
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= model.config.layers) {
      fail("directions", fmt::format("layer {}: the model has {}", layer, model.config.layers));
    }
    states_[layer] = at::zeros({P, T, D});
    last_layer = std::max(last_layer, layer + 1);
  }
  if (states_.empty()) fail("directions", "got no layer, expected at least one");

  for (int64_t begin = 0; begin < P; begin += pass_pieces) {
    const int64_t end = std::min(begin + pass_pieces, P);
    const Packed packed = pack({sequences.begin() + begin, sequences.begin() + end});
    Taps taps;
    for (const auto& [layer, states] : states_) taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
    ForwardOptions options;
    options.taps = &taps;
    options.last_layer = last_layer;
    options.want_logits = false;
    forward(model, packed, options);
    for (const Tap& tap : taps) {
      const at::Tensor captured = tap.captured.to(at::kCPU, at::kFloat);
      if (!captured.isfinite().all().item<bool>()) {
        fail("directions", fmt::format("residual states at {} are not finite", place_name(tap.place)));
      }
      at::Tensor& states = states_.at(tap.place.layer);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t first = packed.starts[p - begin], length = packed.starts[p - begin + 1] - first;
        states[p].narrow(0, 0, length).copy_(captured.narrow(0, first, length));
      }
    }
  }
  const at::Tensor uncounted = counted_.logical_not().unsqueeze(2);
  for (auto& [layer, states] : states_) states.masked_fill_(uncounted, 0);
}

const at::Tensor& PoolStates::states(int64_t layer) const {
  const auto found = states_.find(layer);
  if (found == states_.end()) fail("directions", fmt::format("layer {}: the pool was not run up to it", layer));
  return found->second;
}

std::vector<FeatureContexts> contexts_of_directions(const PoolStates& pool, int64_t layer, const at::Tensor& given,
                                                    const DirectionSettings& settings) {
  c10::NoGradGuard no_gradients;
  const at::Tensor& states = pool.states(layer);
  const int64_t P = states.size(0), T = states.size(1), D = states.size(2);
  if (given.dim() != 2 || given.size(1) != D) {
    fail("directions",
         fmt::format("directions: got {} numbers each, expected {}", given.dim() == 2 ? given.size(1) : -1, D));
  }
  if (settings.top < 0 || settings.random < 0) fail_usage("directions", "top and random must not be negative");
  const at::Tensor directions = given.to(at::kCPU, at::kFloat);
  if (!directions.isfinite().all().item<bool>()) fail("directions", "a direction is not finite");
  std::vector<int64_t> order(static_cast<size_t>(P));
  std::iota(order.begin(), order.end(), 0);
  Random(settings.seed, "contexts of directions").shuffle(order);

  std::vector<FeatureContexts> all;
  const int64_t together = std::max<int64_t>(1, product_numbers / (P * T));
  const at::Tensor uncounted = pool.counted().logical_not().unsqueeze(0);
  for (int64_t begin = 0; begin < directions.size(0); begin += together) {
    const int64_t count = std::min(together, directions.size(0) - begin);
    const at::Tensor activations =
        at::matmul(directions.narrow(0, begin, count), states.view({P * T, D}).t()).view({count, P, T});
    const at::Tensor highest =
        at::masked_fill(activations, uncounted, -std::numeric_limits<float>::infinity()).amax(2).contiguous();
    for (int64_t d = 0; d < count; ++d) {
      const float* value = highest.data_ptr<float>() + d * P;
      std::vector<int64_t> chosen(static_cast<size_t>(P));
      std::iota(chosen.begin(), chosen.end(), 0);
      const int64_t top = std::min(settings.top, P);
      std::partial_sort(chosen.begin(), chosen.begin() + top, chosen.end(),
                        [&](int64_t a, int64_t b) { return value[a] != value[b] ? value[a] > value[b] : a < b; });
      chosen.resize(static_cast<size_t>(top));
      FeatureContexts contexts{layer, begin + d, std::vector<ContextKind>(chosen.size(), ContextKind::top), {}, {}, {}};
      std::vector<bool> taken(static_cast<size_t>(P));
      for (const int64_t piece : chosen) taken[static_cast<size_t>(piece)] = true;
      for (size_t i = 0; i < order.size() && std::ssize(chosen) < top + settings.random; ++i) {
        if (!taken[static_cast<size_t>(order[i])]) chosen.push_back(order[i]);
      }
      contexts.kinds.resize(chosen.size(), ContextKind::random);
      const at::Tensor rows = at::tensor(chosen, at::kLong);
      contexts.tokens = pool.tokens().index_select(0, rows);
      contexts.activations = activations[d].index_select(0, rows);
      contexts.values = highest[d].index_select(0, rows);
      all.push_back(std::move(contexts));
    }
  }
  return all;
}

FeatureContexts contexts_of_direction(const PoolStates& pool, int64_t layer, const at::Tensor& direction,
                                      const DirectionSettings& settings) {
  if (direction.dim() != 1) fail("directions", fmt::format("a direction of {} dimensions", direction.dim()));
  return contexts_of_directions(pool, layer, direction.unsqueeze(0), settings).at(0);
}

}  // namespace introspect
