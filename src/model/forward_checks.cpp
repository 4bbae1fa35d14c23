#include "model/forward_checks.h"

#include "base/error.h"

#include <algorithm>

#include <ATen/Functions.h>

namespace introspect {

namespace {

// Throws Error if a number of `values` is outside [0, end).
void check_range(const at::Tensor& values, int64_t end, const char* what, const std::string& where) {
  if (values.numel() == 0) return;
  const auto [low, high] = values.aminmax();
  const int64_t lowest = low.item<int64_t>(), highest = high.item<int64_t>();
  if (lowest < 0 || highest >= end) {
    fail("forward", fmt::format("{} {}: {}", what, lowest < 0 ? lowest : highest, where));
  }
}

void check_known(const Known& known, const Taps* taps, int64_t layer, int64_t positions) {
  if (has_tap(taps, {PlaceKind::resid_pre, layer})) {
    fail("forward", fmt::format("known: what is known of layer {} would not see the tap in front of it", layer));
  }
  const auto index = static_cast<size_t>(layer);
  if (!known.cache || index >= known.cache->queries.size() || !known.cache->queries[index].defined()) {
    fail("forward", fmt::format("known: the cache holds no queries, keys and values of layer {}", layer),
         "the pass that made it must have run this layer with keep_cache and keep_queries");
  }
  if (!known.row.defined() || known.row.numel() != positions) {
    fail("forward", fmt::format("known: expected {} rows, as many as the sequences hold", positions));
  }
  const int64_t rows = known.cache->keys[index].size(0);
  check_range(known.row.clamp_min(0), rows, "known: row", fmt::format("the cache of layer {} has {}", layer, rows));
}

// Places that this model does not have. (That a tap fired at all is seen after the pass.)
void check_places(const ModelConfig& c, const Taps& taps) {
  for (const Tap& tap : taps) {
    const bool of_mlp = tap.place.kind == PlaceKind::resid_mid || tap.place.kind == PlaceKind::mlp_out;
    if (of_mlp && c.d_mlp == 0) {
      fail("taps", fmt::format("{}: the blocks of {} have no MLP", place_name(tap.place), c.family),
           "what its mixer writes is blocks.{i}.hook_attn_out");
    }
    if (tap.place.kind == PlaceKind::resid_mid && c.parallel_residual) {
      fail("taps", fmt::format("{}: in {} attention and MLP read the same stream, there is none between them",
                               place_name(tap.place), c.family));
    }
  }
}

// What only one of the two kinds of models can do.
void check_kind(const ModelConfig& c, const Packed& input, const ForwardOptions& options) {
  if (!c.recurrent()) {
    if (options.states || options.keep_states) {
      fail("forward", fmt::format("states: {} keeps keys and values", c.family), "use prefix and keep_cache");
    }
    return;
  }
  if (options.prefix || options.known || options.keep_cache || options.keep_queries) {
    fail("forward", fmt::format("prefix, known, keep_cache: {} is recurrent and keeps no keys and values", c.family),
         "use states and keep_states; what shares or compares prefixes needs a model with attention");
  }
  if (c.mixer == Mixer::rwkv7 && options.first_layer > 0) {
    fail("forward",
         fmt::format("first_layer {}: every layer of {} reads the values of layer 0", options.first_layer, c.family),
         "start at layer 0, with a tap where the residual stream is to be another");
  }
  if (!options.states) return;
  const auto layers = static_cast<size_t>(c.layers);
  const bool fits = options.states->size() == layers &&
                    std::all_of(options.states->begin(), options.states->end(), [&](const LayerState& state) {
                      return state.memory.defined() && state.memory.size(0) == input.sequences();
                    });
  if (!fits) {
    fail("forward",
         fmt::format("states: expected {} layers, each with a row for every one of {} sequences", layers,
                     input.sequences()),
         "the pass that made them must have run every layer");
  }
}

// A second run gives the same values; what the first one left elsewhere has no gradient.
void check_checkpointing(const ModelConfig& c, const ForwardOptions& options) {
  if (!options.activation_checkpointing || !at::GradMode::is_enabled()) return;
  if (c.recurrent()) {
    fail("forward", fmt::format("activation_checkpointing: {} is recurrent, its layers hand on states", c.family));
  }
  if (options.prefix || options.known || options.keep_cache) {
    fail("forward", "activation_checkpointing: got a prefix, known rows or a cache, through which no gradient flows");
  }
  if (!options.taps) return;
  for (const Tap& tap : *options.taps) {
    if (tap.action == Tap::Action::capture && tap.place.layer >= 0) {
      fail("forward",
           fmt::format("activation_checkpointing: a capture at {} would have no gradient", place_name(tap.place)),
           "capture in a pass without gradients");
    }
  }
}

}  // namespace

int64_t check_input(const Model& model, const Packed& input, const ForwardOptions& options, int64_t last_layer) {
  const ModelConfig& c = model.config;
  if (input.starts.size() < 2 || input.size() == 0) fail("forward", "got no tokens, expected at least one");
  if (options.first_layer < 0 || options.first_layer > last_layer || last_layer > c.layers) {
    fail("forward", fmt::format("layers {} to {}: the model has {}", options.first_layer, last_layer, c.layers));
  }
  if (options.first_layer > 0 && !options.residual.defined()) {
    fail("forward", "a pass that starts at a layer needs the residual stream entering it");
  }
  check_kind(c, input, options);
  check_checkpointing(c, options);
  if (options.taps) check_places(c, *options.taps);
  const int64_t N = input.size();
  if (options.residual.defined()) {
    if (options.residual.dim() != 2 || options.residual.size(0) != N || options.residual.size(1) != c.d_model) {
      fail("forward", fmt::format("residual: expected shape [{}, {}]", N, c.d_model));
    }
  } else {
    if (!input.tokens.defined() || input.tokens.numel() != N) {
      fail("forward", fmt::format("tokens: expected {}, as many as the sequences hold", N));
    }
    check_range(input.tokens, c.vocab_size, "token", fmt::format("the vocabulary has {} tokens", c.vocab_size));
  }
  if (!input.positions.defined() || input.positions.numel() != N) {
    fail("forward", fmt::format("positions: expected {}, as many as the sequences hold", N));
  }
  const auto [nearest, furthest] = input.positions.aminmax();
  if (nearest.item<int64_t>() < 0 || furthest.item<int64_t>() >= c.max_positions) {
    fail("forward",
         fmt::format("a sequence of {} positions: the model has {}", furthest.item<int64_t>() + 1, c.max_positions),
         "shorten the input");
  }
  if (options.logits_at.defined()) {
    check_range(options.logits_at, N, "logits_at", fmt::format("the input has {} positions", N));
  }
  if (const Prefix* prefix = options.prefix) {
    if (!prefix->cache || static_cast<int64_t>(prefix->begin.size()) != input.sequences() ||
        static_cast<int64_t>(prefix->length.size()) != input.sequences()) {
      fail("forward", fmt::format("prefix: got {} ranges, expected one for each of {} sequences", prefix->begin.size(),
                                  input.sequences()));
    }
  }
  if (options.known) check_known(*options.known, options.taps, options.first_layer, N);
  return furthest.item<int64_t>();
}

}  // namespace introspect
