#include "model/taps.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

namespace {

struct PlaceText {
  PlaceKind kind;
  const char* name;  // behind "blocks.{i}." for places inside a block
  bool inside;
};
constexpr PlaceText places[] = {
    {PlaceKind::embed, "hook_embed", false},
    {PlaceKind::resid_pre, "hook_resid_pre", true},
    {PlaceKind::attention_out, "hook_attn_out", true},
    {PlaceKind::resid_mid, "hook_resid_mid", true},
    {PlaceKind::mlp_out, "hook_mlp_out", true},
    {PlaceKind::resid_post, "hook_resid_post", true},
    {PlaceKind::final_norm, "ln_final.hook_normalized", false},
};

std::string at_place(const Tap& tap) {
  return "at " + place_name(tap.place);
}

// What would otherwise be an error of libtorch that names no place, or no error and a wrong result.
void check_tap(const Tap& tap, const at::Tensor& x) {
  const int64_t positions = x.size(0), width = x.size(1);
  int64_t count = positions;
  if (tap.rows.defined()) {
    if (tap.rows.dim() != 1 || tap.rows.scalar_type() != at::kLong) {
      fail("taps", fmt::format("rows {}: expected a list of int64 positions", at_place(tap)));
    }
    count = tap.rows.numel();
    const at::Tensor rows = tap.rows.to(at::kCPU).contiguous();
    std::vector<int64_t> sorted(rows.data_ptr<int64_t>(), rows.data_ptr<int64_t>() + count);
    std::sort(sorted.begin(), sorted.end());
    if (count > 0 && (sorted.front() < 0 || sorted.back() >= positions)) {
      fail("taps", fmt::format("position {} {}: the input has {} positions",
                               sorted.front() < 0 ? sorted.front() : sorted.back(), at_place(tap), positions));
    }
    const bool writes = tap.action == Tap::Action::replace || tap.action == Tap::Action::scale;
    if (writes && std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      fail("taps", fmt::format("position {} twice in one tap {}", *std::adjacent_find(sorted.begin(), sorted.end()),
                               at_place(tap)));
    }
  }
  if (tap.action == Tap::Action::capture || tap.action == Tap::Action::scale) return;
  if (!tap.value.defined() || tap.value.dim() < 1 || tap.value.dim() > 2 || tap.value.size(-1) != width ||
      (tap.value.dim() == 2 && tap.value.size(0) != count)) {
    std::string got = "none";
    if (tap.value.defined()) {
      got.clear();
      for (int64_t size : tap.value.sizes()) got += fmt::format("{}{}", got.empty() ? "[" : ", ", size);
      got = got.empty() ? "a number" : got + "]";
    }
    fail("taps", fmt::format("value {}: got {}, expected [{}] or [{}, {}]", at_place(tap), got, width, count, width));
  }
}

at::Tensor apply(Tap& tap, const at::Tensor& x) {
  ++tap.fired;
  const bool all = !tap.rows.defined();
  const at::Tensor rows = all ? at::Tensor() : tap.rows.to(x.device());
  switch (tap.action) {
    case Tap::Action::capture:
      tap.captured = all ? x : x.index_select(0, rows);
      return x;
    case Tap::Action::replace: {
      const at::Tensor value = tap.value.to(x.device(), x.scalar_type());
      if (all) return value.expand_as(x);
      return x.index_copy(0, rows, value.expand({rows.size(0), x.size(1)}));
    }
    case Tap::Action::add: {
      const at::Tensor value = tap.value.to(x.device(), x.scalar_type());
      if (all) return x + value;
      return x.index_add(0, rows, value.expand({rows.size(0), x.size(1)}));
    }
    case Tap::Action::scale:
      if (all) return x * tap.factor;
      return x.index_copy(0, rows, x.index_select(0, rows) * tap.factor);
  }
  return x;
}

}  // namespace

Place parse_place(const std::string& name) {
  std::string rest = name;
  int64_t layer = -1;
  if (name.starts_with("blocks.")) {
    const size_t dot = name.find('.', 7);
    const char* begin = name.data() + 7;
    const char* end = name.data() + (dot == std::string::npos ? name.size() : dot);
    const auto [stop, error] = std::from_chars(begin, end, layer);
    if (error == std::errc() && stop == end && layer >= 0 && dot != std::string::npos) rest = name.substr(dot + 1);
  }
  for (const PlaceText& place : places) {
    if (rest == place.name && place.inside == (layer >= 0)) return {place.kind, layer};
  }
  std::string known;
  for (const PlaceText& place : places) {
    known += fmt::format("{}{}{}", known.empty() ? "" : ", ", place.inside ? "blocks.{i}." : "", place.name);
  }
  fail_usage("taps", fmt::format("place: got '{}', expected one of {}", name, known), "docs/TAPS.md has the table");
}

std::string place_name(const Place& place) {
  for (const PlaceText& text : places) {
    if (text.kind == place.kind) {
      return text.inside ? fmt::format("blocks.{}.{}", place.layer, text.name) : std::string(text.name);
    }
  }
  return "?";
}

Tap Tap::capture(Place place, at::Tensor rows) {
  Tap tap;
  tap.place = place;
  tap.rows = std::move(rows);
  return tap;
}

Tap Tap::replace(Place place, at::Tensor rows, at::Tensor value) {
  Tap tap = capture(place, std::move(rows));
  tap.action = Action::replace;
  tap.value = std::move(value);
  return tap;
}

Tap Tap::add(Place place, at::Tensor rows, at::Tensor value) {
  Tap tap = replace(place, std::move(rows), std::move(value));
  tap.action = Action::add;
  return tap;
}

Tap Tap::scale(Place place, at::Tensor rows, double factor) {
  Tap tap = capture(place, std::move(rows));
  tap.action = Action::scale;
  tap.factor = factor;
  return tap;
}

bool has_tap(const Taps* taps, const Place& place) {
  if (!taps) return false;
  for (const Tap& tap : *taps) {
    if (tap.place == place) return true;
  }
  return false;
}

at::Tensor apply_taps(Taps* taps, const Place& place, at::Tensor x) {
  if (!taps) return x;
  for (Tap& tap : *taps) {
    if (!(tap.place == place)) continue;
    check_tap(tap, x);
    x = apply(tap, x);
  }
  return x;
}

void check_all_fired(const Taps& taps) {
  std::string missed;
  for (const Tap& tap : taps) {
    if (tap.fired == 0) missed += (missed.empty() ? "" : ", ") + place_name(tap.place);
  }
  if (!missed.empty()) {
    fail("taps", fmt::format("never fired: {}", missed),
         "the place does not exist in this model, or the pass started behind it or stopped before it");
  }
}

}  // namespace introspect
