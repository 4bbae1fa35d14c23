#include "feature/context_store.h"

#include "base/error.h"
#include "base/safetensors.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

[[noreturn]] void broken(const std::string& what, const fs::path& path) {
  fail("contexts", fmt::format("{} ({})", what, path.string()),
       "the file is damaged or not one of introspect contexts");
}

at::Tensor take(const Safetensors& file, const std::string& name, at::ScalarType type, at::IntArrayRef shape) {
  const at::Tensor tensor = file.get(name);
  if (tensor.scalar_type() != type || tensor.dim() != std::ssize(shape)) {
    broken(fmt::format("'{}' has another type or number of dimensions than expected", name), file.path());
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0 && tensor.size(static_cast<int64_t>(i)) != shape[i]) {
      broken(fmt::format("'{}' dimension {}: got {}, expected {}", name, i, tensor.size(static_cast<int64_t>(i)),
                         shape[i]),
             file.path());
    }
  }
  return tensor;
}

struct Range {
  int64_t begin, end;
};

// Which entries of a list belong to `index`; `start` has one number more than there are indices.
Range range_of(const at::Tensor& start, int64_t index, int64_t entries, const std::string& name, const fs::path& path) {
  const int64_t* values = start.data_ptr<int64_t>();
  const Range range{values[index], values[index + 1]};
  if (range.begin < 0 || range.end < range.begin || range.end > entries) {
    broken(fmt::format("'{}.start' {}: got {} to {} of {} entries", name, index, range.begin, range.end, entries),
           path);
  }
  return range;
}

// One of the lists a latent: top, quantile, near_miss.
struct Lists {
  std::string name;
  at::Tensor start, piece, value, firing_start, position, activation;
};

Lists open_lists(const Safetensors& file, const std::string& name, int64_t latents, bool with_firings) {
  Lists lists{name,
              take(file, name + ".start", at::kLong, {latents + 1}),
              take(file, name + ".piece", at::kInt, {-1}),
              {},
              {},
              {},
              {}};
  const int64_t entries = lists.piece.numel();
  lists.value = take(file, name + ".value", at::kFloat, {entries});
  if (!with_firings) return lists;
  lists.firing_start = take(file, name + ".firing_start", at::kLong, {entries + 1});
  lists.position = take(file, name + ".position", at::kShort, {-1});
  lists.activation = take(file, name + ".activation", at::kFloat, {lists.position.numel()});
  return lists;
}

struct Layer {
  int64_t layer = 0, latents = 0;
  fs::path path;
  at::Tensor fired, maximum, histogram;
  Lists top, quantile, near_miss;
  at::Tensor random_start, random_piece, random_position, random_activation;
};

Layer open_layer(const fs::path& folder, int64_t layer, int64_t latents) {
  const fs::path path = folder / fmt::format("layer-{}.safetensors", layer);
  const Safetensors file(path);
  Layer opened;
  opened.layer = layer;
  opened.latents = latents;
  opened.path = path;
  opened.fired = take(file, "fired", at::kLong, {latents});
  opened.maximum = take(file, "maximum", at::kFloat, {latents});
  opened.histogram = take(file, "histogram", at::kLong, {latents, histogram_bins});
  opened.top = open_lists(file, "top", latents, true);
  opened.quantile = open_lists(file, "quantile", latents, true);
  opened.near_miss = open_lists(file, "near_miss", latents, false);
  opened.random_start = take(file, "random.start", at::kLong, {latents + 1});
  opened.random_piece = take(file, "random.piece", at::kShort, {-1});
  opened.random_position = take(file, "random.position", at::kShort, {opened.random_piece.numel()});
  opened.random_activation = take(file, "random.activation", at::kFloat, {opened.random_piece.numel()});
  const float* maximum = opened.maximum.data_ptr<float>();
  for (int64_t i = 0; i < latents; ++i) {
    if (!std::isfinite(maximum[i]) || maximum[i] < 0) {
      broken(fmt::format("'maximum' of latent {}: got {}", i, maximum[i]), path);
    }
  }
  return opened;
}

ContextSettings parse_settings(const Json& table, const std::string& label) {
  ContextSettings s;
  s.length = json_get<int64_t>(table, "length", label);
  s.top = json_get<int64_t>(table, "top", label);
  s.quantiles = json_get<int64_t>(table, "quantiles", label);
  s.per_quantile = json_get<int64_t>(table, "per_quantile", label);
  s.random = json_get<int64_t>(table, "random", label);
  s.near_miss = json_get<int64_t>(table, "near_miss", label);
  s.seed = static_cast<uint64_t>(json_get<int64_t>(table, "seed", label));
  check_settings(s);
  return s;
}

}  // namespace

struct ContextStore::Held {
  fs::path folder;
  Json info;
  ContextSettings settings;
  int64_t pieces = 0, positions = 0;
  at::Tensor id, tokens, random;
  std::map<int64_t, Layer> layers;

  fs::path pieces_path() const { return folder / "pieces.safetensors"; }

  const Layer& layer(int64_t index) const {
    const auto found = layers.find(index);
    if (found != layers.end()) return found->second;
    std::string known;
    for (const auto& [each, opened] : layers) known += fmt::format("{}{}", known.empty() ? "" : ", ", each);
    fail_usage("contexts", fmt::format("layer {}: the store has layers {} ({})", index, known, folder.string()));
  }

  const Layer& layer_of(int64_t index, int64_t latent) const {
    const Layer& found = layer(index);
    if (latent < 0 || latent >= found.latents) {
      fail_usage("contexts",
                 fmt::format("latent {}: layer {} has {} latents ({})", latent, index, found.latents, folder.string()));
    }
    return found;
  }

  // Entries of a latent's list, with their piece's row in `priority`.
  std::vector<KeptPiece> entries(const Layer& layer, const Lists& lists, int64_t latent) const {
    std::vector<KeptPiece> list;
    const Range range = range_of(lists.start, latent, lists.piece.numel(), lists.name, layer.path);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t row = lists.piece.data_ptr<int32_t>()[i];
      if (row < 0 || row >= id.numel()) {
        broken(fmt::format("'{}.piece' {}: got {}, there are {} pieces", lists.name, i, row, id.numel()), layer.path);
      }
      KeptPiece entry;
      entry.piece = static_cast<uint64_t>(id.data_ptr<int64_t>()[row]);
      entry.priority = static_cast<uint64_t>(row);
      entry.value = lists.value.data_ptr<float>()[i];
      bool good = std::isfinite(entry.value);
      if (lists.firing_start.defined()) {
        good = good && entry.value > 0 && entry.value <= layer.maximum.data_ptr<float>()[latent];
        const Range firings = range_of(lists.firing_start, i, lists.position.numel(), lists.name, layer.path);
        for (int64_t f = firings.begin; f < firings.end; ++f) {
          const Firing firing{lists.position.data_ptr<int16_t>()[f], lists.activation.data_ptr<float>()[f]};
          good = good && firing.position >= 0 && firing.position < settings.length && std::isfinite(firing.value);
          entry.firings.push_back(firing);
        }
      }
      if (!good) broken(fmt::format("'{}' entry {}: a value out of range", lists.name, i), layer.path);
      list.push_back(std::move(entry));
    }
    return list;
  }

  // Visits the firings of a latent on the random pieces.
  template <class Visit>
  void random_firings(const Layer& layer, int64_t latent, Visit&& visit) const {
    const Range range = range_of(layer.random_start, latent, layer.random_piece.numel(), "random", layer.path);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t piece = layer.random_piece.data_ptr<int16_t>()[i];
      const Firing firing{layer.random_position.data_ptr<int16_t>()[i], layer.random_activation.data_ptr<float>()[i]};
      if (piece < 0 || piece >= random.numel() || firing.position < 0 || firing.position >= settings.length ||
          !std::isfinite(firing.value)) {
        broken(fmt::format("'random' entry {}: a value out of range", i), layer.path);
      }
      visit(piece, firing);
    }
  }
};

ContextStore ContextStore::open(const fs::path& folder) {
  auto held = std::make_shared<Held>();
  held->folder = folder;
  const fs::path path = folder / "contexts.json";
  if (!fs::exists(path)) {
    fail("contexts", fmt::format("no finished contexts: contexts.json is missing ({})", folder.string()),
         "introspect contexts MODEL --sae DIR --text FILE --out " + folder.string() + " makes them");
  }
  held->info = read_json(path);
  const Json& info = held->info;
  const std::string label = path.string();
  if (json_get<std::string>(info, "format", label) != "introspect contexts 1") {
    fail("contexts",
         fmt::format("format: got {}, expected \"introspect contexts 1\" ({})", info["format"].dump(), label));
  }
  if (!info.contains("settings") || !info["settings"].is_object()) broken("'settings' is missing", path);
  held->settings = parse_settings(info["settings"], label);
  held->pieces = json_get<int64_t>(info, "pieces", label);
  held->positions = json_get<int64_t>(info, "positions", label);
  if (held->pieces < 0 || held->positions < 0) broken("'pieces' or 'positions' is negative", path);

  const Safetensors file(held->pieces_path());
  held->id = take(file, "id", at::kLong, {-1});
  held->tokens = take(file, "tokens", at::kInt, {held->id.numel(), held->settings.length});
  held->random = take(file, "random", at::kInt, {-1});
  for (int64_t i = 0; i < held->random.numel(); ++i) {
    const int32_t row = held->random.data_ptr<int32_t>()[i];
    if (row < 0 || row >= held->id.numel()) {
      broken(fmt::format("'random' {}: got {}, there are {} pieces", i, row, held->id.numel()), held->pieces_path());
    }
  }

  if (!info.contains("layers") || !info["layers"].is_array() || info["layers"].empty()) {
    broken("'layers' is missing or empty", path);
  }
  for (const Json& each : info["layers"]) {
    const int64_t layer = json_get<int64_t>(each, "layer", label), latents = json_get<int64_t>(each, "latents", label);
    if (latents < 1 || latents > std::numeric_limits<int32_t>::max()) {
      broken(fmt::format("layer {}: got {} latents", layer, latents), path);
    }
    if (!held->layers.emplace(layer, open_layer(folder, layer, latents)).second) {
      broken(fmt::format("layer {} stands there twice", layer), path);
    }
  }
  ContextStore store;
  store.held_ = held;
  return store;
}

const fs::path& ContextStore::folder() const {
  return held_->folder;
}
const Json& ContextStore::info() const {
  return held_->info;
}
ContextSettings ContextStore::settings() const {
  return held_->settings;
}
int64_t ContextStore::length() const {
  return held_->settings.length;
}
int64_t ContextStore::positions() const {
  return held_->positions;
}

std::vector<int64_t> ContextStore::layers() const {
  std::vector<int64_t> list;
  for (const auto& [layer, opened] : held_->layers) list.push_back(layer);
  return list;
}

int64_t ContextStore::latents(int64_t layer) const {
  return held_->layer(layer).latents;
}

at::Tensor ContextStore::firing_rate(int64_t layer) const {
  return (held_->layer(layer).fired.to(at::kDouble) / static_cast<double>(std::max<int64_t>(1, held_->positions)))
      .to(at::kFloat);
}

at::Tensor ContextStore::maximum(int64_t layer) const {
  return held_->layer(layer).maximum.clone();
}

at::Tensor ContextStore::histogram(int64_t layer) const {
  return held_->layer(layer).histogram.clone();
}

at::Tensor ContextStore::histogram_edges() const {
  at::Tensor edges = at::empty({histogram_bins + 1});
  for (int64_t i = 0; i <= histogram_bins; ++i) edges.data_ptr<float>()[i] = static_cast<float>(histogram_edge(i));
  return edges;
}

at::Tensor ContextStore::random_tokens() const {
  return held_->tokens.index_select(0, held_->random);
}

at::Tensor ContextStore::random_activations(int64_t layer, int64_t latent) const {
  const Layer& opened = held_->layer_of(layer, latent);
  at::Tensor activations = at::zeros({held_->random.numel(), length()});
  held_->random_firings(opened, latent, [&](int64_t piece, const Firing& firing) {
    activations.data_ptr<float>()[piece * length() + firing.position] = firing.value;
  });
  return activations;
}

FeatureContexts ContextStore::contexts(int64_t layer, int64_t latent) const {
  const Layer& opened = held_->layer_of(layer, latent);
  const ContextSettings& s = held_->settings;
  struct Chosen {
    ContextKind kind;
    KeptPiece piece;  // priority: the row
  };
  std::vector<Chosen> chosen;
  std::set<uint64_t> seen;
  const auto choose = [&](ContextKind kind, KeptPiece& piece) {
    if (seen.insert(piece.piece).second) chosen.push_back({kind, std::move(piece)});
  };
  for (KeptPiece& each : held_->entries(opened, opened.top, latent)) choose(ContextKind::top, each);

  // Of each part the pieces of lowest priority that are not top ones.
  std::vector<KeptPiece> samples = held_->entries(opened, opened.quantile, latent);
  const float maximum = opened.maximum.data_ptr<float>()[latent];
  const std::vector<int32_t> bins = part_bins(activation_bin(maximum), s.quantiles);
  const auto part_of = [&](const KeptPiece& piece) {
    return std::upper_bound(bins.begin(), bins.end(), activation_bin(piece.value)) - bins.begin();
  };
  const auto priority_of = [&](const KeptPiece& piece) {
    return piece_priority(s.seed, piece.piece, static_cast<uint64_t>((layer + 1) << 32 | latent));
  };
  std::sort(samples.begin(), samples.end(), [&](const KeptPiece& a, const KeptPiece& b) {
    return part_of(a) != part_of(b) ? part_of(a) > part_of(b) : priority_of(a) < priority_of(b);
  });
  std::vector<int64_t> taken(static_cast<size_t>(s.quantiles), 0);
  for (KeptPiece& each : samples) {
    if (seen.contains(each.piece) || taken[static_cast<size_t>(part_of(each))]++ >= s.per_quantile) continue;
    choose(ContextKind::quantile, each);
  }

  for (KeptPiece& each : held_->entries(opened, opened.near_miss, latent)) choose(ContextKind::near_miss, each);
  std::vector<KeptPiece> random(static_cast<size_t>(held_->random.numel()));
  for (size_t i = 0; i < random.size(); ++i) {
    random[i].priority = static_cast<uint64_t>(held_->random.data_ptr<int32_t>()[i]);
    random[i].piece = static_cast<uint64_t>(held_->id.data_ptr<int64_t>()[random[i].priority]);
  }
  held_->random_firings(opened, latent, [&](int64_t piece, const Firing& firing) {
    KeptPiece& entry = random[static_cast<size_t>(piece)];
    entry.firings.push_back(firing);
    entry.value = std::max(entry.value, firing.value);
  });
  for (KeptPiece& each : random) choose(ContextKind::random, each);

  const int64_t C = std::ssize(chosen), T = length();
  FeatureContexts contexts{layer, latent, {}, at::empty({C, T}, at::kInt), at::zeros({C, T}), at::empty({C})};
  for (int64_t c = 0; c < C; ++c) {
    const Chosen& each = chosen[static_cast<size_t>(c)];
    contexts.kinds.push_back(each.kind);
    contexts.values.data_ptr<float>()[c] = each.piece.value;
    const int32_t* tokens = held_->tokens.data_ptr<int32_t>() + static_cast<int64_t>(each.piece.priority) * T;
    std::copy(tokens, tokens + T, contexts.tokens.data_ptr<int32_t>() + c * T);
    for (const Firing& firing : each.piece.firings) {
      contexts.activations.data_ptr<float>()[c * T + firing.position] = firing.value;
    }
  }
  return contexts;
}

ContextSet ContextStore::read() const {
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (const auto& [layer, opened] : held_->layers) sizes.emplace_back(layer, opened.latents);
  ContextSet set(held_->settings, sizes);
  set.pieces = held_->pieces;
  set.positions = held_->positions;
  const int64_t T = length();
  for (int64_t i = 0; i < held_->id.numel(); ++i) {
    const int32_t* tokens = held_->tokens.data_ptr<int32_t>() + i * T;
    set.tokens[static_cast<uint64_t>(held_->id.data_ptr<int64_t>()[i])] =
        std::vector<int32_t>(tokens, std::find(tokens, tokens + T, -1));
  }
  std::vector<uint64_t> random;
  for (int64_t i = 0; i < held_->random.numel(); ++i) {
    random.push_back(static_cast<uint64_t>(held_->id.data_ptr<int64_t>()[held_->random.data_ptr<int32_t>()[i]]));
    set.random.emplace_back(piece_priority(held_->settings.seed, random.back(), 0), random.back());
  }
  std::sort(set.random.begin(), set.random.end());
  for (LayerContexts& layer : set.layers) {
    const Layer& opened = held_->layers.at(layer.layer);
    const auto copy = [](auto& target, const at::Tensor& tensor) {
      using Value = typename std::decay_t<decltype(target)>::value_type;
      const Value* values = tensor.data_ptr<Value>();
      target.assign(values, values + tensor.numel());
    };
    copy(layer.fired, opened.fired);
    copy(layer.maximum, opened.maximum);
    copy(layer.histogram, opened.histogram);
    for (const uint64_t piece : random) layer.random[piece];
    for (int64_t i = 0; i < layer.latents; ++i) {
      layer.top[i] = held_->entries(opened, opened.top, i);
      layer.quantile[i] = held_->entries(opened, opened.quantile, i);
      layer.near_miss[i] = held_->entries(opened, opened.near_miss, i);
      held_->random_firings(opened, i, [&](int64_t piece, const Firing& firing) {
        layer.random[random[static_cast<size_t>(piece)]].push_back({static_cast<int32_t>(i), firing});
      });
    }
    layer.refresh();
  }
  return set;
}

}  // namespace introspect
