// Taps: what a forward pass captures and what it changes on its way. docs/TAPS.md is the table of places.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// The names are TransformerLens's; `layer` counts from 0 and is -1 for places outside the blocks.
enum class PlaceKind {
  embed,          // hook_embed                     the embedding rows; replacing one is a continuous token
  resid_pre,      // blocks.{i}.hook_resid_pre      the residual stream entering the block
  attention_out,  // blocks.{i}.hook_attn_out       what attention adds to the residual stream
  resid_mid,      // blocks.{i}.hook_resid_mid      after attention has been added
  mlp_out,        // blocks.{i}.hook_mlp_out        what the MLP adds
  resid_post,     // blocks.{i}.hook_resid_post     the residual stream leaving the block
  final_norm,     // ln_final.hook_normalized       after the last norm, as the head reads it
};

struct Place {
  PlaceKind kind = PlaceKind::embed;
  int64_t layer = -1;
  bool operator==(const Place&) const = default;
};

// "blocks.3.hook_resid_post" to a Place and back. Throws Error with the list of places.
Place parse_place(const std::string& name);
std::string place_name(const Place& place);

struct Tap {
  enum class Action { capture, replace, add, scale };

  Place place;
  Action action = Action::capture;
  at::Tensor rows;      // [M] int64: flat positions in the packed batch, each once; undefined means all
  at::Tensor value;     // replace, add: [M, d_model] or [d_model]; may require gradients
  double factor = 1;    // scale
  at::Tensor captured;  // capture: [M, d_model] once fired
  int64_t fired = 0;    // in the last pass; a tap still at 0 after it is an Error

  static Tap capture(Place place, at::Tensor rows = {});
  static Tap replace(Place place, at::Tensor rows, at::Tensor value);
  static Tap add(Place place, at::Tensor rows, at::Tensor value);
  static Tap scale(Place place, at::Tensor rows, double factor);
};

using Taps = std::vector<Tap>;

// Applies every tap of `place` to `x` [N, d_model] in order and returns the result; no tap costs nothing. Throws Error
// for positions that `x` does not have, and values of another width or number of rows.
at::Tensor apply_taps(Taps* taps, const Place& place, at::Tensor x);
bool has_tap(const Taps* taps, const Place& place);
// Throws Error naming every tap that did not fire.
void check_all_fired(const Taps& taps);

}  // namespace introspect
