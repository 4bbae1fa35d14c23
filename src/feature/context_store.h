// What makes each latent of one or several layers fire, as a folder:
//   contexts.json          settings, model, SAEs, text, counts
//   pieces.safetensors     id [P] int64, tokens [P, T] int32 (-1 behind the end), random [R] int32: rows of the random
//                          pieces
//   layer-N.safetensors    fired [L] int64, maximum [L], histogram [L, 64] int64, and the lists of each latent: top,
//                          quantile and near_miss with .start [L + 1], .piece (a row of pieces) and .value, the first
//                          two with the positions that fire: .firing_start, .position int16, .activation; random with
//                          .start [L + 1], .piece (of the random ones), .position and .activation
// Quantile lists hold candidates, of which contexts() takes those of each part, so that stores can be merged: a store
// of a part of the text, or of unfinished work, is a store like any other.
#pragma once

#include "base/json.h"
#include "feature/context_set.h"
#include "feature/contexts.h"

#include <filesystem>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace fs = std::filesystem;

class ContextStore {
 public:
  // Maps the files; lists are checked when they are read. Throws Error naming the file for what is missing, cut off,
  // misshapen or contradicts itself. Cheap to copy.
  static ContextStore open(const fs::path& folder);

  const fs::path& folder() const;
  const Json& info() const;  // contexts.json
  ContextSettings settings() const;
  int64_t length() const;     // T
  int64_t positions() const;  // of the text that count: no first and no special tokens
  std::vector<int64_t> layers() const;
  int64_t latents(int64_t layer) const;

  // Top, quantile (highest part first), near-miss and random pieces: each piece once, under the first of these kinds
  // that it belongs to, so that no context stands in two halves of a list. A latent that never fired has near misses
  // and random pieces alone.
  FeatureContexts contexts(int64_t layer, int64_t latent) const;
  at::Tensor firing_rate(int64_t layer) const;  // [L] float32, share of positions
  at::Tensor maximum(int64_t layer) const;      // [L] float32
  at::Tensor histogram(int64_t layer) const;    // [L, 64] int64, positions
  at::Tensor histogram_edges() const;           // [65] float32

  at::Tensor random_tokens() const;                                    // [R, T] int32: the random pieces, all of them
  at::Tensor random_activations(int64_t layer, int64_t latent) const;  // [R, T]

  // Everything, for going on or merging.
  ContextSet read() const;

 private:
  struct Held;
  std::shared_ptr<const Held> held_;
};

// Writes a store: files first, contexts.json last. `info` is added to what the set says of itself.
void write_contexts(const ContextSet& set, const Json& info, const fs::path& folder);

}  // namespace introspect
