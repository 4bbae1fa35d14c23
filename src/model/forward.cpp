// The one forward pass. N positions packed end to end, D d_model, H heads, K kv_heads, E head_dim, F d_mlp, V vocab,
// M positions whose logits are wanted.
#include "model/forward.h"

#include <algorithm>
#include <cmath>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "base/error.h"
#include "model/kernels.h"

namespace introspect {

namespace {

struct Angles {
  at::Tensor cosine, sine;  // [N, E/2] float32
};

// Rotary angles, with the frequency scaling of Llama 3.1 (Hugging Face modeling_rope_utils, "llama3").
Angles rotary_angles(const ModelConfig& config, const at::Tensor& positions) {
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
  const at::Tensor angles = positions.to(at::kDouble).unsqueeze(1) * f.unsqueeze(0);
  return {angles.cos().to(at::kFloat), angles.sin().to(at::kFloat)};
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
  at::Tensor rows;                    // [M] ascending
  std::vector<int64_t> query_start;   // [sequences + 1]
  std::vector<int64_t> visible;       // [M]
};

std::vector<int64_t> visible_of_all(const Packed& input) {
  std::vector<int64_t> visible(input.size());
  for (int64_t s = 0; s < input.sequences(); ++s) {
    for (int64_t i = input.starts[s]; i < input.starts[s + 1]; ++i) visible[i] = i - input.starts[s] + 1;
  }
  return visible;
}

// Narrowing to the wanted positions is right only if nobody looks at the others, and needs ascending positions.
Carried carried_in_last_layer(const Packed& input, const ForwardOptions& options, int64_t layer,
                              const std::vector<int64_t>& visible) {
  Carried carried;
  if (!options.logits_at.defined() || !options.want_logits) return carried;
  for (PlaceKind kind : {PlaceKind::attention_out, PlaceKind::resid_mid, PlaceKind::mlp_out, PlaceKind::resid_post}) {
    if (has_tap(options.taps, {kind, layer})) return carried;
  }
  if (has_tap(options.taps, {PlaceKind::final_norm, -1})) return carried;
  const at::Tensor rows = options.logits_at.to(at::kCPU).contiguous();
  const int64_t* row = rows.data_ptr<int64_t>();
  if (!std::is_sorted(row, row + rows.numel())) return carried;
  carried.all = false;
  carried.rows = options.logits_at;
  carried.query_start.assign(1, 0);
  int64_t next = 0;
  for (int64_t s = 0; s < input.sequences(); ++s) {
    for (; next < rows.numel() && row[next] < input.starts[s + 1]; ++next) carried.visible.push_back(visible[row[next]]);
    carried.query_start.push_back(next);
  }
  return carried;
}

// One pass in progress: what its layers share.
struct Pass {
  const ModelConfig& config;
  const Packed& input;
  const ForwardOptions& options;
  Angles angles;
  std::vector<int64_t> visible;
  ForwardResult result;
};

at::Tensor attention_of(Pass& pass, const Block& block, int64_t layer, const at::Tensor& x_ND,
                        const Carried& carried) {
  const ModelConfig& c = pass.config;
  const at::Tensor queries_from = carried.all ? x_ND : x_ND.index_select(0, carried.rows);
  at::Tensor q = apply_linear(block.query, queries_from, pass.options).view({-1, c.heads, c.head_dim});
  at::Tensor k = apply_linear(block.key, x_ND, pass.options).view({-1, c.kv_heads, c.head_dim});
  const at::Tensor v = apply_linear(block.value, x_ND, pass.options).view({-1, c.kv_heads, c.head_dim});
  if (c.query_key_norm) {
    q = rms_norm(q.reshape({-1, c.head_dim}), block.query_norm, c.norm_epsilon).view_as(q);
    k = rms_norm(k.reshape({-1, c.head_dim}), block.key_norm, c.norm_epsilon).view_as(k);
  }
  const Angles& angles = pass.angles;
  q = carried.all ? rotate(q, angles.cosine, angles.sine)
                  : rotate(q, angles.cosine.index_select(0, carried.rows), angles.sine.index_select(0, carried.rows));
  k = rotate(k, angles.cosine, angles.sine);
  if (pass.options.keep_cache) {
    pass.result.cache.keys.push_back(k);
    pass.result.cache.values.push_back(v);
  }
  AttentionShape shape;
  shape.key_start = pass.input.starts;
  shape.query_start = carried.all ? pass.input.starts : carried.query_start;
  shape.visible = carried.all ? pass.visible : carried.visible;
  if (const Prefix* prefix = pass.options.prefix) {
    shape.prefix_key = prefix->cache->keys.at(layer);
    shape.prefix_value = prefix->cache->values.at(layer);
    shape.prefix_begin = prefix->begin;
    shape.prefix_length = prefix->length;
  }
  const at::Tensor mixed = attention(q, k, v, shape).reshape({-1, c.heads * c.head_dim});
  return apply_linear(block.output, mixed, pass.options);
}

at::Tensor mlp_of(const Block& block, const at::Tensor& x, const ForwardOptions& options) {
  const at::Tensor hidden = gated_silu(apply_linear(block.gate, x, options), apply_linear(block.up, x, options));
  return apply_linear(block.down, hidden, options);
}

at::Tensor run_block(Pass& pass, const Block& block, int64_t layer, at::Tensor x, const Carried& carried) {
  Taps* taps = pass.options.taps;
  const double epsilon = pass.config.norm_epsilon;
  x = apply_taps(taps, {PlaceKind::resid_pre, layer}, x);
  at::Tensor out = attention_of(pass, block, layer, rms_norm(x, block.attention_norm, epsilon), carried);
  out = apply_taps(taps, {PlaceKind::attention_out, layer}, out);
  x = (carried.all ? x : x.index_select(0, carried.rows)) + out;
  x = apply_taps(taps, {PlaceKind::resid_mid, layer}, x);
  out = mlp_of(block, rms_norm(x, block.mlp_norm, epsilon), pass.options);
  out = apply_taps(taps, {PlaceKind::mlp_out, layer}, out);
  x = x + out;
  return apply_taps(taps, {PlaceKind::resid_post, layer}, x);
}

void check_input(const Model& model, const Packed& input, const ForwardOptions& options, int64_t last_layer) {
  const ModelConfig& c = model.config;
  if (input.starts.size() < 2 || input.size() == 0) fail("forward", "got no tokens, expected at least one");
  if (options.first_layer < 0 || options.first_layer > last_layer || last_layer > c.layers) {
    fail("forward", fmt::format("layers {} to {}: the model has {}", options.first_layer, last_layer, c.layers));
  }
  if (options.first_layer > 0 && !options.residual.defined()) {
    fail("forward", "a pass that starts at a layer needs the residual stream entering it");
  }
  if (!options.residual.defined()) {
    const auto [low, high] = input.tokens.aminmax();
    if (low.item<int64_t>() < 0 || high.item<int64_t>() >= c.vocab_size) {
      fail("forward", fmt::format("token {}: the vocabulary has {} tokens",
                                  low.item<int64_t>() < 0 ? low.item<int64_t>() : high.item<int64_t>(), c.vocab_size));
    }
  }
  const int64_t furthest = input.positions.max().item<int64_t>();
  if (furthest >= c.max_positions) {
    fail("forward", fmt::format("a sequence of {} positions: the model has {}", furthest + 1, c.max_positions),
         "shorten the input");
  }
  if (const Prefix* prefix = options.prefix) {
    if (static_cast<int64_t>(prefix->begin.size()) != input.sequences() ||
        static_cast<int64_t>(prefix->length.size()) != input.sequences()) {
      fail("forward", fmt::format("prefix: got {} ranges, expected one for each of {} sequences",
                                  prefix->begin.size(), input.sequences()));
    }
  }
}

}  // namespace

Packed pack(const std::vector<std::vector<int64_t>>& sequences, const std::vector<int64_t>& first_positions) {
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
  check_input(model, given, options, last_layer);
  const at::Device device = model.embedding.device();
  Packed input = given;
  input.positions = input.positions.to(device);
  if (input.tokens.defined()) input.tokens = input.tokens.to(device);
  if (options.training) at::manual_seed(options.dropout_seed);

  Pass pass{c, input, options, rotary_angles(c, input.positions), visible_of_all(input), {}};
  at::Tensor x_ND = options.residual;
  if (!x_ND.defined()) {
    x_ND = at::embedding(model.embedding, input.tokens);
    x_ND = apply_taps(options.taps, {PlaceKind::embed, -1}, x_ND);
  }
  Carried carried;
  // caches are filled for the layers that were skipped too, so that an index is a layer
  if (options.keep_cache) pass.result.cache.keys.resize(options.first_layer);
  if (options.keep_cache) pass.result.cache.values.resize(options.first_layer);
  for (int64_t layer = options.first_layer; layer < last_layer; ++layer) {
    if (layer == c.layers - 1) carried = carried_in_last_layer(input, options, layer, pass.visible);
    x_ND = run_block(pass, model.blocks[layer], layer, x_ND, carried);
  }
  pass.result.residual = x_ND;
  if (options.want_logits && last_layer == c.layers) {
    at::Tensor x_MD = x_ND;
    if (options.logits_at.defined() && carried.all && !has_tap(options.taps, {PlaceKind::final_norm, -1})) {
      x_MD = x_ND.index_select(0, options.logits_at.to(device));
    }
    x_MD = apply_taps(options.taps, {PlaceKind::final_norm, -1}, rms_norm(x_MD, model.final_norm, c.norm_epsilon));
    if (options.logits_at.defined() && carried.all && has_tap(options.taps, {PlaceKind::final_norm, -1})) {
      x_MD = x_MD.index_select(0, options.logits_at.to(device));
    }
    pass.result.logits = apply_linear({model.head, {}, nullptr}, x_MD, options);  // [M, V]
  }
  if (options.taps) check_all_fired(*options.taps);
  return std::move(pass.result);
}

}  // namespace introspect
