// The one forward pass. N positions packed end to end, D d_model, H heads, K kv_heads, E head_dim, F d_mlp, V vocab,
// M positions whose logits are wanted.
#include "model/forward.h"

#include "base/error.h"
#include "model/kernels.h"

#include <algorithm>
#include <cmath>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

namespace {

struct Angles {
  at::Tensor cosine, sine;  // [N, E/2] float32

  Angles at(const at::Tensor& rows) const { return {cosine.index_select(0, rows), sine.index_select(0, rows)}; }
};

// Rotary angles, with the frequency scaling of Llama 3.1 (Hugging Face modeling_rope_utils, "llama3"). `furthest` is
// the largest position.
Angles rotary_angles(const ModelConfig& config, const at::Tensor& positions, int64_t furthest) {
  const int64_t half = config.head_dim / 2;
  std::vector<double> frequency(half);
  const RopeScaling& scaling = config.rope_scaling;
  for (int64_t i = 0; i < half; ++i) {
    double f = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (scaling.kind == RopeScaling::Kind::linear) f /= scaling.factor;
    if (scaling.kind == RopeScaling::Kind::llama3) {
      const double wavelength = 2 * M_PI / f;
      const double longest = scaling.original_positions / scaling.low_frequency_factor;
      const double shortest = scaling.original_positions / scaling.high_frequency_factor;
      if (wavelength > longest) {
        f /= scaling.factor;
      } else if (wavelength > shortest) {
        const double smooth = (scaling.original_positions / wavelength - scaling.low_frequency_factor) /
                              (scaling.high_frequency_factor - scaling.low_frequency_factor);
        f = (1 - smooth) * f / scaling.factor + smooth * f;
      }
    }
    frequency[i] = f;
  }
  const at::Tensor f = at::tensor(frequency, at::kDouble).to(positions.device());
  // many sequences share their positions: each cosine is computed once
  const bool table = furthest + 1 < positions.size(0);
  const at::Tensor distinct = table ? at::arange(furthest + 1, positions.options()) : positions;
  const at::Tensor angles = distinct.to(at::kDouble).unsqueeze(1) * f.unsqueeze(0);
  const at::Tensor cosine = angles.cos().to(at::kFloat), sine = angles.sin().to(at::kFloat);
  if (!table) return {cosine, sine};
  return {cosine.index_select(0, positions), sine.index_select(0, positions)};
}

// W x + b + scale * B A dropout(x). Products in `compute` where the weights are float32, result in x's type.
at::Tensor apply_linear(const Linear& linear, const at::Tensor& x, const ForwardOptions& options) {
  const bool mixed = options.compute == at::kBFloat16 && linear.weight.scalar_type() == at::kFloat;
  const auto product = [&](const at::Tensor& in, const at::Tensor& weight) {
    if (!mixed) return at::linear(in, weight.scalar_type() == in.scalar_type() ? weight : weight.to(in.scalar_type()));
    return at::linear(in.to(at::kBFloat16), weight.to(at::kBFloat16));
  };
  at::Tensor y = product(x, linear.weight);
  if (mixed) y = y.to(at::kFloat);
  if (linear.bias.defined()) y = y + linear.bias;
  if (linear.lora) {
    at::Tensor in = x;
    if (options.training && linear.lora->dropout > 0) in = at::dropout(in, linear.lora->dropout, true);
    const at::Tensor update = product(product(in, linear.lora->a), linear.lora->b);
    y = y + linear.lora->scale * update.to(y.scalar_type());
  }
  return y;
}

// Which of the packed positions a layer carries on: all, or in the last layer those whose logits are wanted.
struct Carried {
  bool all = true;
  at::Tensor rows;       // [M] ascending, undefined for all
  AttentionShape shape;  // without the prefix's tensors, which are a layer's
};

Carried carry_all(const Packed& input, const ForwardOptions& options) {
  Carried carried;
  carried.shape.key_start = carried.shape.query_start = input.starts;
  carried.shape.visible.resize(input.size());
  for (int64_t s = 0; s < input.sequences(); ++s) {
    for (int64_t i = input.starts[s]; i < input.starts[s + 1]; ++i) {
      carried.shape.visible[i] = i - input.starts[s] + 1;
    }
  }
  if (options.prefix) {
    carried.shape.prefix_begin = options.prefix->begin;
    carried.shape.prefix_length = options.prefix->length;
  }
  return carried;
}

// Narrowing to the wanted positions is right only if nobody looks at the others, and needs ascending positions.
bool can_narrow(const ForwardOptions& options, int64_t layer) {
  if (!options.logits_at.defined() || !options.want_logits) return false;
  for (PlaceKind kind : {PlaceKind::attention_out, PlaceKind::resid_mid, PlaceKind::mlp_out, PlaceKind::resid_post}) {
    if (has_tap(options.taps, {kind, layer})) return false;
  }
  if (has_tap(options.taps, {PlaceKind::final_norm, -1})) return false;
  const at::Tensor rows = options.logits_at.to(at::kCPU).contiguous();
  const int64_t* row = rows.data_ptr<int64_t>();
  return std::is_sorted(row, row + rows.numel());
}

Carried narrow(const Carried& all, const at::Tensor& wanted, at::Device device) {
  Carried carried;
  carried.all = false;
  carried.rows = wanted.to(device);
  carried.shape = all.shape;
  carried.shape.batches.reset();
  carried.shape.query_start.assign(1, 0);
  carried.shape.visible.clear();
  const at::Tensor rows = wanted.to(at::kCPU).contiguous();
  const int64_t* row = rows.data_ptr<int64_t>();
  int64_t next = 0;
  for (size_t s = 1; s < all.shape.key_start.size(); ++s) {
    for (; next < rows.numel() && row[next] < all.shape.key_start[s]; ++next) {
      carried.shape.visible.push_back(all.shape.visible[row[next]]);
    }
    carried.shape.query_start.push_back(next);
  }
  return carried;
}

// One pass in progress: what its layers share.
struct Pass {
  const ModelConfig& config;
  const ForwardOptions& options;
  Angles angles;
  Carried carried;
  ForwardResult result;
};

// The prefix's keys and values of a layer, checked against the model.
void set_prefix(AttentionShape& shape, const KeyValues& cache, const ModelConfig& c, int64_t layer) {
  const size_t index = static_cast<size_t>(layer);
  if (index >= cache.keys.size() || index >= cache.values.size() || !cache.keys[index].defined()) {
    fail("forward", fmt::format("prefix: the cache holds no keys of layer {}", layer),
         "the pass that made it must have run every layer that this one runs");
  }
  const at::Tensor &keys = cache.keys[index], &values = cache.values[index];
  for (const at::Tensor& rows : {keys, values}) {
    if (rows.dim() != 3 || rows.size(1) != c.kv_heads || rows.size(2) != c.head_dim || rows.size(0) != keys.size(0)) {
      fail("forward",
           fmt::format("prefix: the cache of layer {} does not fit {} heads of {}", layer, c.kv_heads, c.head_dim));
    }
  }
  shape.prefix_key = keys;
  shape.prefix_value = values;
}

// Queries or keys [rows, heads, head_dim] of normalised x [rows, D]: normalised a head where the family does, rotated.
at::Tensor turned(const Pass& pass, const Linear& linear, const at::Tensor& norm, int64_t heads, const at::Tensor& x,
                  const Angles& angles) {
  const ModelConfig& c = pass.config;
  at::Tensor y = apply_linear(linear, x, pass.options).view({x.size(0), heads, c.head_dim});
  if (c.query_key_norm) {
    y = rms_norm(y.reshape({x.size(0) * heads, c.head_dim}), norm, c.norm_epsilon).view_as(y);
  }
  return rotate(y, angles.cosine, angles.sine);
}

at::Tensor values_of(const Pass& pass, const Block& block, const at::Tensor& x) {
  return apply_linear(block.value, x, pass.options).view({x.size(0), pass.config.kv_heads, pass.config.head_dim});
}

struct Projections {
  at::Tensor query;       // [M, H, E]
  at::Tensor key, value;  // [N, K, E]
};

at::Tensor queries_of(const Pass& pass, const Block& block, const at::Tensor& x_ND) {
  const int64_t H = pass.config.heads;
  if (pass.carried.all) return turned(pass, block.query, block.query_norm, H, x_ND, pass.angles);
  return turned(pass, block.query, block.query_norm, H, x_ND.index_select(0, pass.carried.rows),
                pass.angles.at(pass.carried.rows));
}

Projections projections_of(const Pass& pass, const Block& block, const at::Tensor& x_ND) {
  return {queries_of(pass, block, x_ND),
          turned(pass, block.key, block.key_norm, pass.config.kv_heads, x_ND, pass.angles),
          values_of(pass, block, x_ND)};
}

// The projections of a layer some of whose positions were known before: only the others are computed.
Projections projections_beside(const Pass& pass, const Block& block, int64_t layer, const at::Tensor& x_ND) {
  const auto index = static_cast<size_t>(layer);
  const KeyValues& cache = *pass.options.known->cache;
  const at::Tensor row = pass.options.known->row.to(x_ND.device()), fresh = row.lt(0).nonzero().squeeze(1);
  const at::Tensor from = row.clamp_min(0), x = x_ND.index_select(0, fresh);
  const Angles angles = pass.angles.at(fresh);
  const auto beside = [&](const at::Tensor& known, const at::Tensor& computed) {
    return known.index_select(0, from).index_copy_(0, fresh, computed);
  };
  const int64_t H = pass.config.heads, K = pass.config.kv_heads;
  // where either pass carries on only a few positions (the last layer), the queries are few and computed
  const bool queries = pass.carried.all && cache.queries[index].size(0) == cache.keys[index].size(0);
  return {queries ? beside(cache.queries[index], turned(pass, block.query, block.query_norm, H, x, angles))
                  : queries_of(pass, block, x_ND),
          beside(cache.keys[index], turned(pass, block.key, block.key_norm, K, x, angles)),
          beside(cache.values[index], values_of(pass, block, x))};
}

at::Tensor attention_of(Pass& pass, const Block& block, int64_t layer, const at::Tensor& x_ND) {
  const ModelConfig& c = pass.config;
  Carried& carried = pass.carried;
  const bool known = pass.options.known && layer == pass.options.first_layer;
  const Projections made = known ? projections_beside(pass, block, layer, x_ND) : projections_of(pass, block, x_ND);
  if (pass.options.keep_cache) {
    pass.result.cache.keys.push_back(made.key);
    pass.result.cache.values.push_back(made.value);
    if (pass.options.keep_queries) pass.result.cache.queries.push_back(made.query);
  }
  if (pass.options.prefix) set_prefix(carried.shape, *pass.options.prefix->cache, c, layer);
  const at::Tensor mixed = attention(made.query, made.key, made.value, carried.shape);
  return apply_linear(block.output, mixed.reshape({mixed.size(0), c.heads * c.head_dim}), pass.options);
}

at::Tensor mlp_of(const Block& block, const at::Tensor& x, const ForwardOptions& options) {
  const at::Tensor hidden = gated_silu(apply_linear(block.gate, x, options), apply_linear(block.up, x, options));
  return apply_linear(block.down, hidden, options);
}

at::Tensor run_block(Pass& pass, const Block& block, int64_t layer, at::Tensor x) {
  Taps* taps = pass.options.taps;
  const double epsilon = pass.config.norm_epsilon;
  x = apply_taps(taps, {PlaceKind::resid_pre, layer}, x);
  at::Tensor out = attention_of(pass, block, layer, rms_norm(x, block.attention_norm, epsilon));
  out = apply_taps(taps, {PlaceKind::attention_out, layer}, out);
  x = (pass.carried.all ? x : x.index_select(0, pass.carried.rows)) + out;
  x = apply_taps(taps, {PlaceKind::resid_mid, layer}, x);
  out = mlp_of(block, rms_norm(x, block.mlp_norm, epsilon), pass.options);
  out = apply_taps(taps, {PlaceKind::mlp_out, layer}, out);
  x = x + out;
  return apply_taps(taps, {PlaceKind::resid_post, layer}, x);
}

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

// Returns the largest position.
int64_t check_input(const Model& model, const Packed& input, const ForwardOptions& options, int64_t last_layer) {
  const ModelConfig& c = model.config;
  if (input.starts.size() < 2 || input.size() == 0) fail("forward", "got no tokens, expected at least one");
  if (options.first_layer < 0 || options.first_layer > last_layer || last_layer > c.layers) {
    fail("forward", fmt::format("layers {} to {}: the model has {}", options.first_layer, last_layer, c.layers));
  }
  if (options.first_layer > 0 && !options.residual.defined()) {
    fail("forward", "a pass that starts at a layer needs the residual stream entering it");
  }
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

}  // namespace

Packed pack(const std::vector<std::vector<int64_t>>& sequences, const std::vector<int64_t>& first_positions) {
  if (!first_positions.empty() && first_positions.size() != sequences.size()) {
    fail("forward",
         fmt::format("pack: got {} first positions for {} sequences", first_positions.size(), sequences.size()));
  }
  Packed packed;
  packed.starts.assign(1, 0);
  for (const auto& sequence : sequences) packed.starts.push_back(packed.starts.back() + std::ssize(sequence));
  packed.tokens = at::empty({packed.size()}, at::kLong);
  packed.positions = at::empty({packed.size()}, at::kLong);
  int64_t* token = packed.tokens.data_ptr<int64_t>();
  int64_t* position = packed.positions.data_ptr<int64_t>();
  for (size_t s = 0; s < sequences.size(); ++s) {
    int64_t next = first_positions.empty() ? 0 : first_positions[s];
    for (int64_t value : sequences[s]) {
      *token++ = value;
      *position++ = next++;
    }
  }
  return packed;
}

ForwardResult forward(const Model& model, const Packed& given, const ForwardOptions& options) {
  const ModelConfig& c = model.config;
  const int64_t last_layer = options.last_layer < 0 ? c.layers : options.last_layer;
  const int64_t furthest = check_input(model, given, options, last_layer);
  const at::Device device = model.embedding.device();
  const at::Tensor positions = given.positions.to(device);
  if (options.training) at::manual_seed(options.dropout_seed);
  if (options.taps) {
    for (Tap& tap : *options.taps) tap.fired = 0;  // taps may be used for several passes
  }

  Pass pass{c, options, rotary_angles(c, positions, furthest), carry_all(given, options), {}};
  at::Tensor x_ND;
  if (options.residual.defined()) {
    x_ND = options.residual.to(device, model.embedding.scalar_type());
  } else {
    x_ND = at::embedding(model.embedding, given.tokens.to(device));
    x_ND = apply_taps(options.taps, {PlaceKind::embed, -1}, x_ND);
  }
  // caches are filled for the layers that were skipped too, so that an index is a layer
  if (options.keep_cache) {
    pass.result.cache.keys.resize(options.first_layer);
    pass.result.cache.values.resize(options.first_layer);
    if (options.keep_queries) pass.result.cache.queries.resize(options.first_layer);
  }
  for (int64_t layer = options.first_layer; layer < last_layer; ++layer) {
    if (layer == c.layers - 1 && can_narrow(options, layer)) {
      pass.carried = narrow(pass.carried, options.logits_at, device);
    }
    x_ND = run_block(pass, model.blocks[layer], layer, x_ND);
  }
  pass.result.residual = x_ND;
  if (options.want_logits && last_layer == c.layers) {
    // a tap at the last norm sees every position, so there the wanted ones are taken behind it
    const bool take = options.logits_at.defined() && pass.carried.all;
    const bool tapped = has_tap(options.taps, {PlaceKind::final_norm, -1});
    at::Tensor x_MD = take && !tapped ? x_ND.index_select(0, options.logits_at.to(device)) : x_ND;
    x_MD = apply_taps(options.taps, {PlaceKind::final_norm, -1}, rms_norm(x_MD, model.final_norm, c.norm_epsilon));
    if (take && tapped) x_MD = x_MD.index_select(0, options.logits_at.to(device));
    pass.result.logits = apply_linear({model.head, {}, nullptr}, x_MD, options);  // [M, V]
  }
  if (options.taps) check_all_fired(*options.taps);
  return std::move(pass.result);
}

}  // namespace introspect
