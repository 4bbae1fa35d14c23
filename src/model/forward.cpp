// The one forward pass. N positions packed end to end, D d_model, H heads, K kv_heads, E head_dim, F d_mlp, V vocab,
// M positions whose logits are wanted.
#include "model/forward.h"

#include "base/error.h"
#include "model/activation_checkpoint.h"
#include "model/forward_checks.h"
#include "model/kernels.h"
#include "model/linear.h"
#include "model/mamba.h"
#include "model/rotary.h"
#include "model/rwkv7.h"

#include <algorithm>
#include <cmath>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

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
  carried.shape.batches.clear();
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
  at::Tensor first_values;  // of layer 0, which RWKV-7 reads in every layer

  // What the layers share goes to the device of the next one.
  void move(at::Device device) {
    angles = {angles.cosine.defined() ? angles.cosine.to(device) : at::Tensor(),
              angles.sine.defined() ? angles.sine.to(device) : at::Tensor()};
    if (carried.rows.defined()) carried.rows = carried.rows.to(device);
    carried.shape.batches.clear();
    if (first_values.defined()) first_values = first_values.to(device);
  }
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

// Queries [M, H, E], keys and values [N, K, E].
struct Projections {
  at::Tensor query, key, value;
};

at::Tensor heads_of(const Pass& pass, const Linear& linear, const at::Tensor& x, int64_t heads) {
  return apply_linear(linear, x, pass.options).view({x.size(0), heads, pass.config.head_dim});
}

// The three parts of a checkpoint's one projection, [rows, H, E] each.
Projections split(const Pass& pass, const Block& block, const at::Tensor& x) {
  const ModelConfig& c = pass.config;
  const at::Tensor y = apply_linear(block.query_key_value, x, pass.options);
  const bool stacked = c.projections == ProjectionLayout::stacked;
  const std::vector<at::Tensor> parts = stacked ? y.view({x.size(0), 3, c.heads, c.head_dim}).unbind(1)
                                                : y.view({x.size(0), c.heads, 3, c.head_dim}).unbind(2);
  return {parts[0], parts[1], parts[2]};
}

// Heads y [rows, heads, E] as attention takes them: normalised a head where the family does, turned.
at::Tensor placed(const ModelConfig& c, at::Tensor y, const at::Tensor& norm, const Angles& angles) {
  if (c.query_key_norm) {
    y = rms_norm(y.reshape({y.size(0) * y.size(1), c.head_dim}), norm, c.norm_epsilon).view_as(y);
  }
  return turned(c, y, angles);
}

at::Tensor placed_query(const ModelConfig& c, const Block& block, const at::Tensor& y, const Angles& angles) {
  const at::Tensor query = placed(c, y, block.query_norm, angles);
  // attention itself scales by 1 / sqrt E
  return c.query_scale > 0 ? query * (c.query_scale * std::sqrt(static_cast<double>(c.head_dim))) : query;
}

at::Tensor queries_of(const Pass& pass, const Block& block, const at::Tensor& x_ND) {
  const ModelConfig& c = pass.config;
  const Carried& carried = pass.carried;
  const at::Tensor x = carried.all ? x_ND : x_ND.index_select(0, carried.rows);
  const at::Tensor y = c.projections == ProjectionLayout::separate ? heads_of(pass, block.query, x, c.heads)
                                                                   : split(pass, block, x).query;
  return placed_query(c, block, y, carried.all ? pass.angles : pass.angles.at(carried.rows));
}

Projections projections_of(const Pass& pass, const Block& block, const at::Tensor& x_ND, bool with_queries = true) {
  const ModelConfig& c = pass.config;
  if (c.projections == ProjectionLayout::separate) {
    return {with_queries ? queries_of(pass, block, x_ND) : at::Tensor(),
            placed(c, heads_of(pass, block.key, x_ND, c.kv_heads), block.key_norm, pass.angles),
            heads_of(pass, block.value, x_ND, c.kv_heads)};
  }
  Projections made = split(pass, block, x_ND);
  if (!pass.carried.all) made.query = made.query.index_select(0, pass.carried.rows);
  const Angles angles = pass.carried.all ? pass.angles : pass.angles.at(pass.carried.rows);
  return {placed_query(c, block, made.query, angles), placed(c, made.key, block.key_norm, pass.angles), made.value};
}

// The projections of a layer some of whose positions were known before: only the others are computed.
Projections projections_beside(const Pass& pass, const Block& block, int64_t layer, const at::Tensor& x_ND) {
  const ModelConfig& c = pass.config;
  const auto index = static_cast<size_t>(layer);
  const KeyValues& cache = *pass.options.known->cache;
  const at::Tensor row = pass.options.known->row.to(x_ND.device()), fresh = row.lt(0).nonzero().squeeze(1);
  const at::Tensor from = row.clamp_min(0), x = x_ND.index_select(0, fresh);
  // where either pass carries on only a few positions (the last layer), the queries are few and computed
  const bool queries = pass.carried.all && cache.queries[index].size(0) == cache.keys[index].size(0);
  const Pass of_fresh{c, pass.options, pass.angles.at(fresh), {}, {}, {}};
  const Projections made = projections_of(of_fresh, block, x, queries);
  const auto beside = [&](const at::Tensor& known, const at::Tensor& computed) {
    return known.index_select(0, from).index_copy_(0, fresh, computed);
  };
  return {queries ? beside(cache.queries[index], made.query) : queries_of(pass, block, x_ND),
          beside(cache.keys[index], made.key), beside(cache.values[index], made.value)};
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
  carried.shape.softcap = c.attention_softcap;
  carried.shape.window = c.window(layer);
  const at::Tensor mixed = attention(made.query, made.key, made.value, carried.shape);
  return apply_linear(block.output, mixed.reshape({mixed.size(0), c.heads * c.head_dim}), pass.options);
}

// What carries information from position to position.
at::Tensor mixer_of(Pass& pass, const Block& block, int64_t layer, const at::Tensor& x_ND) {
  const std::vector<int64_t>& starts = pass.carried.shape.key_start;
  switch (pass.config.mixer) {
    case Mixer::attention:
      break;
    case Mixer::mamba:
      return mamba_mixer(pass.config, block.mamba, x_ND, starts, pass.result.states[layer], pass.options);
    case Mixer::rwkv7:
      return rwkv7_time_mixing(pass.config, block, x_ND, starts, pass.result.states[layer], pass.first_values,
                               pass.options);
  }
  return attention_of(pass, block, layer, x_ND);
}

at::Tensor run_block(Pass& pass, const Block& block, int64_t layer, at::Tensor x) {
  Taps* taps = pass.options.taps;
  const ModelConfig& c = pass.config;
  x = apply_taps(taps, {PlaceKind::resid_pre, layer}, x);
  at::Tensor out = apply_norm(c, x, block.attention_norm, block.attention_norm_bias);
  out = mixer_of(pass, block, layer, out);
  if (c.post_norms) out = apply_norm(c, out, block.attention_post_norm, {});
  out = apply_taps(taps, {PlaceKind::attention_out, layer}, out);
  const at::Tensor before = pass.carried.all ? x : x.index_select(0, pass.carried.rows);
  x = before + out;
  if (c.d_mlp == 0) return apply_taps(taps, {PlaceKind::resid_post, layer}, x);
  if (!c.parallel_residual) x = apply_taps(taps, {PlaceKind::resid_mid, layer}, x);
  out = apply_norm(c, c.parallel_residual ? before : x, block.mlp_norm, block.mlp_norm_bias);
  if (c.mixer == Mixer::rwkv7) {
    out = rwkv7_mlp_input(block, out, pass.carried.shape.key_start, pass.result.states[layer]);
  }
  out = apply_mlp(c, block, out, pass.options);
  if (c.post_norms) out = apply_norm(c, out, block.mlp_post_norm, {});
  out = apply_taps(taps, {PlaceKind::mlp_out, layer}, out);
  x = x + out;
  return apply_taps(taps, {PlaceKind::resid_post, layer}, x);
}

// The tensors of a block, its own taps' values among them, that gradients are wanted of.
std::vector<at::Tensor> learnt_in(const Block& block, const Taps& taps) {
  std::vector<at::Tensor> learnt;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined() && tensor.requires_grad()) learnt.push_back(tensor);
  };
  for (const at::Tensor& norm : {block.attention_norm, block.attention_norm_bias, block.query_norm, block.key_norm,
                                 block.attention_post_norm, block.mlp_norm, block.mlp_norm_bias, block.mlp_post_norm}) {
    add(norm);
  }
  for (const Linear* linear : {&block.query, &block.key, &block.value, &block.query_key_value, &block.output,
                               &block.gate, &block.up, &block.down}) {
    add(linear->weight);
    add(linear->bias);
    if (!linear->lora) continue;
    add(linear->lora->a);
    add(linear->lora->b);
  }
  for (const Tap& tap : taps) add(tap.value);
  return learnt;
}

// A block whose activations are not kept. What it needs for its second run is copied (tensors are shared): the caller's
// options and taps may be gone by then.
at::Tensor run_block_twice(Pass& pass, const Block& block, int64_t layer, const at::Tensor& x) {
  struct Kept {
    ModelConfig config;
    ForwardOptions options;
    Taps taps;
    Block block;
    Angles angles;
    Carried carried;
  };
  const auto kept = std::make_shared<Kept>(Kept{pass.config, pass.options, {}, block, pass.angles, pass.carried});
  if (pass.options.taps) {
    for (Tap& tap : *pass.options.taps) {
      if (tap.place.layer != layer) continue;
      ++tap.fired;
      kept->taps.push_back(tap);
    }
  }
  kept->options.taps = &kept->taps;
  const std::vector<at::Tensor> learnt = learnt_in(block, kept->taps);
  const auto run = [kept, layer](const at::Tensor& given) {
    Pass again{kept->config, kept->options, kept->angles, kept->carried, {}, {}};
    return run_block(again, kept->block, layer, given);
  };
  return run_again_in_backward(run, x, learnt, pass.options.training);
}

// Embedding rows [N, D]. Taps see them as the table holds them: what the family does to them (scale, norm, positions)
// is done to a continuous token too, as Hugging Face does it to inputs_embeds.
at::Tensor embed(const Model& model, const ForwardOptions& options, const at::Tensor& tokens,
                 const at::Tensor& positions) {
  const ModelConfig& c = model.config;
  at::Tensor x = apply_taps(options.taps, {PlaceKind::embed, -1}, at::embedding(model.embedding, tokens));
  // in the stream's own type, as Hugging Face: bfloat16 rounds the factor
  if (c.embedding_scale != 1) x = x * at::full({1}, c.embedding_scale, x.options());
  if (c.embedding_norm) x = apply_norm(c, x, model.embedding_norm, model.embedding_norm_bias);
  return c.learned_positions ? x + at::embedding(model.positions, positions) : x;
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
  at::Device device = model.embedding.device();
  const at::Tensor positions = given.positions.to(device);
  const bool twice = options.activation_checkpointing && at::GradMode::is_enabled();
  if (options.training) at::manual_seed(options.dropout_seed);
  if (options.taps) {
    for (Tap& tap : *options.taps) tap.fired = 0;  // taps may be used for several passes
  }

  Pass pass{c, options, rotary_angles(c, positions, furthest), carry_all(given, options), {}, {}};
  if (c.recurrent()) {
    pass.result.states.resize(c.layers);
    if (options.states) pass.result.states = *options.states;
  }
  at::Tensor x_ND;
  if (options.residual.defined()) {
    x_ND = options.residual.to(device, model.embedding.scalar_type());
  } else {
    x_ND = embed(model, options, given.tokens.to(device), positions);
  }
  // caches are filled for the layers that were skipped too, so that an index is a layer
  if (options.keep_cache) {
    pass.result.cache.keys.resize(options.first_layer);
    pass.result.cache.values.resize(options.first_layer);
    if (options.keep_queries) pass.result.cache.queries.resize(options.first_layer);
  }
  for (int64_t layer = options.first_layer; layer < last_layer; ++layer) {
    const Block& block = model.blocks[layer];
    if (const at::Device next = block.attention_norm.device(); next != device) {
      device = next;
      x_ND = x_ND.to(device);
      pass.move(device);
    }
    if (layer == c.layers - 1 && !c.recurrent() && can_narrow(options, layer)) {
      pass.carried = narrow(pass.carried, options.logits_at, device);
    }
    x_ND = twice ? run_block_twice(pass, block, layer, x_ND) : run_block(pass, block, layer, x_ND);
    if (c.recurrent() && !options.keep_states) pass.result.states[layer] = {};
  }
  if (!options.keep_states) pass.result.states.clear();
  pass.result.residual = x_ND;
  if (options.want_logits && last_layer == c.layers) {
    device = model.final_norm.device();
    x_ND = x_ND.to(device);
    // a tap at the last norm sees every position, so there the wanted ones are taken behind it
    const bool take = options.logits_at.defined() && pass.carried.all;
    const bool tapped = has_tap(options.taps, {PlaceKind::final_norm, -1});
    at::Tensor x_MD = take && !tapped ? x_ND.index_select(0, options.logits_at.to(device)) : x_ND;
    x_MD = apply_norm(c, x_MD, model.final_norm, model.final_norm_bias);
    x_MD = apply_taps(options.taps, {PlaceKind::final_norm, -1}, x_MD);
    if (take && tapped) x_MD = x_MD.index_select(0, options.logits_at.to(device));
    at::Tensor logits = apply_linear({model.head, {}, nullptr, {}}, x_MD, options);  // [M, V]
    if (c.final_softcap > 0) logits = (logits / c.final_softcap).tanh() * c.final_softcap;
    pass.result.logits = logits;
  }
  if (options.taps) check_all_fired(*options.taps);
  return std::move(pass.result);
}

}  // namespace introspect
