#include "base/error.h"
#include "base/safetensors.h"
#include "feature/context_store.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

template <class T>
at::Tensor tensor_of(const std::vector<T>& values, at::IntArrayRef shape, at::ScalarType type) {
  at::Tensor tensor = at::empty(shape, type);
  if (!values.empty()) std::copy(values.begin(), values.end(), static_cast<T*>(tensor.data_ptr()));
  return tensor;
}

template <class T>
at::Tensor list_of(const std::vector<T>& values, at::ScalarType type) {
  return tensor_of(values, {std::ssize(values)}, type);
}

// The row of a piece in the table of pieces, which is sorted.
int32_t row_of(const std::vector<uint64_t>& ids, uint64_t piece) {
  return static_cast<int32_t>(std::lower_bound(ids.begin(), ids.end(), piece) - ids.begin());
}

void add_lists(Tensors& tensors, const std::string& name, const std::vector<std::vector<KeptPiece>>& kept,
               const std::vector<uint64_t>& ids, bool with_firings) {
  std::vector<int64_t> start{0}, firing_start{0};
  std::vector<int32_t> piece;
  std::vector<float> value, activation;
  std::vector<int16_t> position;
  for (const std::vector<KeptPiece>& latent : kept) {
    for (const KeptPiece& each : latent) {
      piece.push_back(row_of(ids, each.piece));
      value.push_back(each.value);
      for (const Firing& firing : each.firings) {
        position.push_back(static_cast<int16_t>(firing.position));
        activation.push_back(firing.value);
      }
      firing_start.push_back(std::ssize(position));
    }
    start.push_back(std::ssize(piece));
  }
  tensors.emplace_back(name + ".start", list_of(start, at::kLong));
  tensors.emplace_back(name + ".piece", list_of(piece, at::kInt));
  tensors.emplace_back(name + ".value", list_of(value, at::kFloat));
  if (!with_firings) return;
  tensors.emplace_back(name + ".firing_start", list_of(firing_start, at::kLong));
  tensors.emplace_back(name + ".position", list_of(position, at::kShort));
  tensors.emplace_back(name + ".activation", list_of(activation, at::kFloat));
}

void add_random(Tensors& tensors, const LayerContexts& layer, const ContextSet& set) {
  struct Entry {
    LatentFiring latent_firing;
    int16_t piece;
  };
  std::vector<Entry> entries;
  for (size_t piece = 0; piece < set.random.size(); ++piece) {
    for (const LatentFiring& each : layer.random.at(set.random[piece].second)) {
      entries.push_back({each, static_cast<int16_t>(piece)});
    }
  }
  // by latent; pieces and positions are in order already
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.latent_firing.latent < b.latent_firing.latent; });
  std::vector<int64_t> start(static_cast<size_t>(layer.latents) + 1, 0);
  std::vector<int16_t> piece, position;
  std::vector<float> activation;
  for (const Entry& each : entries) {
    ++start[static_cast<size_t>(each.latent_firing.latent) + 1];
    piece.push_back(each.piece);
    position.push_back(static_cast<int16_t>(each.latent_firing.firing.position));
    activation.push_back(each.latent_firing.firing.value);
  }
  for (size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
  tensors.emplace_back("random.start", list_of(start, at::kLong));
  tensors.emplace_back("random.piece", list_of(piece, at::kShort));
  tensors.emplace_back("random.position", list_of(position, at::kShort));
  tensors.emplace_back("random.activation", list_of(activation, at::kFloat));
}

void write_pieces(const ContextSet& set, const std::vector<uint64_t>& ids, const fs::path& path) {
  const int64_t T = set.settings.length;
  at::Tensor id = at::empty({std::ssize(ids)}, at::kLong);
  at::Tensor tokens = at::full({std::ssize(ids), T}, -1, at::kInt);
  for (size_t i = 0; i < ids.size(); ++i) {
    id.data_ptr<int64_t>()[i] = static_cast<int64_t>(ids[i]);
    const std::vector<int32_t>& piece = set.tokens.at(ids[i]);
    std::copy(piece.begin(), piece.end(), tokens.data_ptr<int32_t>() + static_cast<int64_t>(i) * T);
  }
  std::vector<int32_t> random;
  for (const auto& [priority, piece] : set.random) random.push_back(row_of(ids, piece));
  write_safetensors(path, {{"id", id}, {"tokens", tokens}, {"random", list_of(random, at::kInt)}});
}

}  // namespace

void write_contexts(const ContextSet& set, const Json& info, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("contexts", fmt::format("cannot make the folder: {} ({})", error.message(), folder.string()));
  const std::vector<uint64_t> ids = set.kept_pieces();
  write_pieces(set, ids, folder / "pieces.safetensors");

  Json layers = Json::array();
  for (const LayerContexts& each : set.layers) {
    Tensors tensors;
    tensors.emplace_back("fired", list_of(each.fired, at::kLong));
    tensors.emplace_back("maximum", list_of(each.maximum, at::kFloat));
    tensors.emplace_back("histogram", tensor_of(each.histogram, {each.latents, histogram_bins}, at::kLong));
    add_lists(tensors, "top", each.top, ids, true);
    add_lists(tensors, "quantile", each.quantile, ids, true);
    add_lists(tensors, "near_miss", each.near_miss, ids, false);
    add_random(tensors, each, set);
    write_safetensors(folder / fmt::format("layer-{}.safetensors", each.layer), tensors);
    layers.push_back({{"layer", each.layer}, {"latents", each.latents}});
  }

  const ContextSettings& s = set.settings;
  Json whole{{"format", "introspect contexts 1"},
             {"settings",
              {{"length", s.length},
               {"top", s.top},
               {"quantiles", s.quantiles},
               {"per_quantile", s.per_quantile},
               {"random", s.random},
               {"near_miss", s.near_miss},
               {"seed", s.seed}}},
             {"layers", layers},
             {"pieces", set.pieces},
             {"positions", set.positions}};
  for (const auto& [key, value] : info.items()) whole[key] = value;
  write_json(folder / "contexts.json", whole);
}

}  // namespace introspect
