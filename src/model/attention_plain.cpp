// Attention for the types and devices that have no loops of their own, with soft-caps and windows. One batched product
// serves many sequences: a launch for each would cost an accelerator more than the product.
#include "model/kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

// S sequences of a batch padded to Q queries, P rows of the prefix and K own keys; T = P + K.
struct AttentionBatches {
  struct Batch {
    int64_t sequences = 0, queries = 0, prefix = 0, keys = 0;
    at::Tensor query_rows;   // [S*Q] flat queries
    at::Tensor key_rows;     // [S*K] flat own keys
    at::Tensor prefix_rows;  // [S*P] rows of the cache
    at::Tensor hidden;       // [S, 1, 1, Q, T] what a query does not see, padding included
    at::Tensor taken;        // rows of [S*Q] that are no padding
  };
  std::vector<Batch> batches;
  at::Tensor order;  // [Nq] where each flat query ended up in the batches' outputs, one behind the other
};

namespace {

// Scores of one head in one batch: 2^22 are 16 MB of float32.
constexpr int64_t largest_batch = int64_t{1} << 22;

struct Lengths {
  int64_t sequence, queries, prefix, keys;
};

at::Tensor on_device(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

AttentionBatches::Batch make_batch(const std::vector<Lengths>& members, const AttentionShape& shape, at::Device device,
                                   std::vector<int64_t>& flat_queries) {
  AttentionBatches::Batch batch;
  batch.sequences = std::ssize(members);
  for (const Lengths& member : members) {
    batch.queries = std::max(batch.queries, member.queries);
    batch.prefix = std::max(batch.prefix, member.prefix);
    batch.keys = std::max(batch.keys, member.keys);
  }
  const int64_t width = batch.prefix + batch.keys;
  std::vector<int64_t> query_rows, key_rows, prefix_rows, taken;
  at::Tensor hidden = at::ones({batch.sequences, 1, 1, batch.queries, width}, at::kBool);
  bool* hides = hidden.data_ptr<bool>();
  for (const Lengths& member : members) {
    const int64_t first = shape.query_start[member.sequence], first_key = shape.key_start[member.sequence];
    for (int64_t i = 0; i < batch.queries; ++i, hides += width) {
      const int64_t query = first + std::min(i, member.queries - 1);  // padding repeats the last one
      if (i < member.queries) {
        taken.push_back(std::ssize(query_rows));
        flat_queries.push_back(query);
      }
      query_rows.push_back(query);
      // what lies in front of the window, counted from the sequence's beginning
      const int64_t visible = shape.visible[query], before = member.prefix + visible - shape.window;
      const int64_t hidden_rows = shape.window > 0 ? std::max<int64_t>(before, 0) : 0;
      const int64_t in_prefix = std::min(hidden_rows, member.prefix), in_own = hidden_rows - in_prefix;
      std::fill_n(hides + in_prefix, member.prefix - in_prefix, false);
      std::fill_n(hides + batch.prefix + in_own, visible - in_own, false);
    }
    for (int64_t i = 0; i < batch.keys; ++i) key_rows.push_back(first_key + std::min(i, member.keys - 1));
    for (int64_t i = 0; i < batch.prefix; ++i) {
      const int64_t begin = member.prefix > 0 ? shape.prefix_begin[member.sequence] : 0;
      prefix_rows.push_back(begin + std::min(i, std::max<int64_t>(member.prefix - 1, 0)));
    }
  }
  batch.query_rows = on_device(query_rows, device);
  batch.key_rows = on_device(key_rows, device);
  batch.prefix_rows = on_device(prefix_rows, device);
  batch.taken = on_device(taken, device);
  batch.hidden = hidden.to(device);
  return batch;
}

std::shared_ptr<const AttentionBatches> make_batches(const AttentionShape& shape, at::Device device) {
  std::vector<Lengths> all;
  for (int64_t s = 0; s + 1 < std::ssize(shape.query_start); ++s) {
    const int64_t queries = shape.query_start[s + 1] - shape.query_start[s];
    const int64_t prefix = shape.prefix_key.defined() ? shape.prefix_length[s] : 0;
    if (queries > 0) all.push_back({s, queries, prefix, shape.key_start[s + 1] - shape.key_start[s]});
  }
  // the longest first, so that the first member says how wide a batch is and little is padded
  std::stable_sort(all.begin(), all.end(), [](const Lengths& a, const Lengths& b) {
    return std::pair(a.queries, a.prefix + a.keys) > std::pair(b.queries, b.prefix + b.keys);
  });
  auto result = std::make_shared<AttentionBatches>();
  std::vector<int64_t> flat_queries;
  std::vector<Lengths> members;
  int64_t prefix = 0, keys = 0;
  const auto flush = [&] {
    if (!members.empty()) result->batches.push_back(make_batch(members, shape, device, flat_queries));
    members.clear();
    prefix = keys = 0;
  };
  for (const Lengths& next : all) {
    const int64_t width = std::max(prefix, next.prefix) + std::max(keys, next.keys);
    if (!members.empty() && (std::ssize(members) + 1) * members.front().queries * width > largest_batch) flush();
    members.push_back(next);
    prefix = std::max(prefix, next.prefix);
    keys = std::max(keys, next.keys);
  }
  flush();
  std::vector<int64_t> order(flat_queries.size());
  for (size_t i = 0; i < flat_queries.size(); ++i) order[flat_queries[i]] = static_cast<int64_t>(i);
  result->order = on_device(order, device);
  return result;
}

}  // namespace

at::Tensor attention_plain(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const AttentionShape& shape) {
  if (query.size(0) == 0) return query;
  std::shared_ptr<const AttentionBatches>& batches = shape.batches[shape.window];
  if (!batches) batches = make_batches(shape, query.device());
  const int64_t heads = query.size(1), kv_heads = key.size(1), group = heads / kv_heads, dim = query.size(2);
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  std::vector<at::Tensor> outputs;
  for (const AttentionBatches::Batch& batch : batches->batches) {
    const int64_t S = batch.sequences, Q = batch.queries, T = batch.prefix + batch.keys;
    // [S, kv_heads, T, dim]
    const auto rows_of = [&](const at::Tensor& own, const at::Tensor& prefix) {
      at::Tensor rows = own.index_select(0, batch.key_rows).view({S, batch.keys, kv_heads, dim});
      if (batch.prefix > 0) {
        const at::Tensor front = prefix.index_select(0, batch.prefix_rows).to(own.scalar_type());
        rows = at::cat({front.view({S, batch.prefix, kv_heads, dim}), rows}, 1);
      }
      return rows.permute({0, 2, 1, 3});
    };
    // the queries of a group of heads lie one behind the other, so that keys need not be repeated for each
    const at::Tensor q = query.index_select(0, batch.query_rows).view({S, Q, kv_heads, group, dim});
    const at::Tensor q_grouped = q.permute({0, 2, 3, 1, 4}).reshape({S, kv_heads, group * Q, dim});
    at::Tensor scores = at::matmul(q_grouped, rows_of(key, shape.prefix_key).transpose(2, 3)) * scale;
    if (scores.scalar_type() != at::kDouble) scores = scores.to(at::kFloat);
    if (shape.softcap > 0) scores = (scores / shape.softcap).tanh() * shape.softcap;
    scores = scores.view({S, kv_heads, group, Q, T});
    scores = scores.masked_fill(batch.hidden, -std::numeric_limits<float>::infinity());
    const at::Tensor weights = at::softmax(scores, -1).to(query.scalar_type()).view({S, kv_heads, group * Q, T});
    const at::Tensor mixed = at::matmul(weights, rows_of(value, shape.prefix_value));
    const at::Tensor flat = mixed.view({S, kv_heads, group, Q, dim}).permute({0, 3, 1, 2, 4});
    outputs.push_back(flat.reshape({S * Q, heads, dim}).index_select(0, batch.taken));
  }
  return at::cat(outputs).index_select(0, batches->order);
}

}  // namespace introspect
