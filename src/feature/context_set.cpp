#include "feature/context_set.h"

#include "base/error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

uint64_t mix(uint64_t word) {  // the finalizer of splitmix64
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
  word = (word ^ word >> 27) * 0x94d049bb133111eb;
  return word ^ word >> 31;
}

bool by_value(const KeptPiece& a, const KeptPiece& b) {
  return a.value != b.value ? a.value > b.value : a.piece < b.piece;
}

bool by_priority(const KeptPiece& a, const KeptPiece& b) {
  if (a.bin != b.bin) return a.bin < b.bin;
  return a.priority != b.priority ? a.priority < b.priority : a.piece < b.piece;
}

// A piece may come twice, and then differ in its last bits with its place in a batch: of the two always the same stays.
bool greater(const KeptPiece& a, const KeptPiece& b) {
  return a.value != b.value ? a.value > b.value : a.firings > b.firings;
}

void copy_firings(KeptPiece& kept, const LatentFiring* begin, const LatentFiring* end) {
  kept.firings.reserve(static_cast<size_t>(end - begin));
  for (const LatentFiring* each = begin; each != end; ++each) kept.firings.push_back(each->firing);
}

void check_count(const char* name, int64_t got, int64_t least, int64_t most) {
  if (got < least || got > most) {
    fail_usage("contexts", fmt::format("{}: got {}, expected {} to {}", name, got, least, most));
  }
}

}  // namespace

void check_settings(const ContextSettings& settings) {
  check_count("length", settings.length, 2, 32767);  // positions are stored as int16
  check_count("top", settings.top, 1, 10000);
  check_count("quantiles", settings.quantiles, 1, 100);
  check_count("per_quantile", settings.per_quantile, 0, 10000);
  check_count("random", settings.random, 0, 32767);
  check_count("near_miss", settings.near_miss, 0, 10000);
}

Piece make_piece(std::vector<int32_t> tokens) {
  uint64_t hash = mix(tokens.size() + 1);
  for (const int32_t token : tokens) hash = mix(hash + 0x9e3779b97f4a7c15 * (static_cast<uint64_t>(token) + 1));
  return {hash, std::move(tokens)};
}

uint64_t piece_priority(uint64_t seed, uint64_t piece, uint64_t stream) {
  return mix(mix(piece ^ mix(seed + 0x9e3779b97f4a7c15)) + 0x9e3779b97f4a7c15 * (stream + 1));
}

int32_t activation_bin(float value) {
  return static_cast<int32_t>(std::bit_cast<uint32_t>(value) >> 20);
}

double bin_edge(int32_t bin) {
  const int exponent = bin >> 3, eighths = bin & 7;
  // numbers below 2^-126 have no leading one
  return exponent == 0 ? std::ldexp(eighths / 8.0, -126) : std::ldexp(1 + eighths / 8.0, exponent - 127);
}

int64_t histogram_bin(float value) {
  constexpr int64_t first = (127 - 16) * 2;
  const int64_t bin = static_cast<int64_t>(std::bit_cast<uint32_t>(value) >> 22) - first;
  return std::clamp<int64_t>(bin, 0, histogram_bins - 1);
}

double histogram_edge(int64_t bin) {
  return std::ldexp(bin % 2 ? 1.5 : 1.0, static_cast<int>(bin / 2) - 16);
}

std::vector<int32_t> part_bins(int32_t maximum_bin, int64_t quantiles) {
  const double end = bin_edge(maximum_bin + 1);
  std::vector<int32_t> bins;
  for (int64_t part = 1; part < quantiles; ++part) {
    const double wanted = end * static_cast<double>(part) / static_cast<double>(quantiles);
    // the bin below may differ by one from the rounding to float; the nearest edge is what counts
    int32_t bin = activation_bin(static_cast<float>(std::min<double>(wanted, std::numeric_limits<float>::max())));
    if (bin_edge(bin + 1) - wanted < wanted - bin_edge(bin)) ++bin;
    bins.push_back(std::min(bin, maximum_bin));
  }
  return bins;
}

LayerContexts::LayerContexts(int64_t given_layer, int64_t given_latents, const ContextSettings& settings)
    : layer(given_layer),
      latents(given_latents),
      fired(given_latents, 0),
      maximum(given_latents, 0),
      histogram(given_latents * histogram_bins, 0),
      top(given_latents),
      quantile(given_latents),
      near_miss(given_latents),
      settings_(settings),
      lowest_part_end_(given_latents, 0),
      near_floor_(given_latents, nothing) {}

uint64_t LayerContexts::priority(uint64_t piece, int64_t latent) const {
  return piece_priority(settings_.seed, piece, static_cast<uint64_t>((layer + 1) << 32 | latent));
}

bool LayerContexts::add(uint64_t piece, const PieceFirings& given) {
  bool kept = false;
  const LatentFiring* const end = given.firings.data() + given.firings.size();
  for (const LatentFiring *begin = given.firings.data(), *next = begin; begin != end; begin = next) {
    const int64_t latent = begin->latent;
    float value = 0;
    for (next = begin; next != end && next->latent == latent; ++next) {
      value = std::max(value, next->firing.value);
      ++histogram[latent * histogram_bins + histogram_bin(next->firing.value)];
    }
    fired[latent] += next - begin;
    if (value > maximum[latent]) raise_maximum(latent, value);
    kept |= add_by_value(top[latent], settings_.top, piece, value, begin, next);
    if (settings_.per_quantile == 0) continue;
    KeptPiece sample{piece, priority(piece, latent), value, activation_bin(value), {}};
    if (sample.bin < lowest_part_end_[latent]) sample.bin = lowest_bin;
    // the last of its bin's sample, if that is full, is the one to beat
    std::vector<KeptPiece>& samples = quantile[latent];
    const auto first = std::partition_point(samples.begin(), samples.end(),
                                            [&](const KeptPiece& each) { return each.bin < sample.bin; });
    const int64_t last = first - samples.begin() + settings_.per_quantile - 1;
    if (last < std::ssize(samples) && samples[last].bin == sample.bin && by_priority(samples[last], sample)) continue;
    copy_firings(sample, begin, next);
    kept |= add_quantile(latent, std::move(sample));
  }
  if (given.nearest && settings_.near_miss > 0) kept |= add_near_misses(piece, given.nearest);
  return kept;
}

bool LayerContexts::add_near_misses(uint64_t piece, const float* nearest) {
  constexpr int64_t block = 64;
  bool kept = false;
  for (int64_t begin = 0; begin < latents; begin += block) {
    const int64_t end = std::min(begin + block, latents);
    int reached = 0;  // a loop without branches first: nearly all blocks hold nothing
    for (int64_t i = begin; i < end; ++i) reached |= nearest[i] >= near_floor_[i];
    if (!reached) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (nearest[i] < near_floor_[i] || nearest[i] == nothing) continue;
      kept |= add_by_value(near_miss[i], settings_.near_miss, piece, nearest[i], nullptr, nullptr);
      if (std::ssize(near_miss[i]) == settings_.near_miss) near_floor_[i] = near_miss[i].back().value;
    }
  }
  return kept;
}

bool LayerContexts::add_by_value(std::vector<KeptPiece>& kept, int64_t limit, uint64_t piece, float value,
                                 const LatentFiring* begin, const LatentFiring* end) {
  KeptPiece added{piece, 0, value, 0, {}};
  if (std::ssize(kept) == limit && by_value(kept.back(), added)) return false;
  copy_firings(added, begin, end);
  const auto same = std::find_if(kept.begin(), kept.end(), [&](const KeptPiece& each) { return each.piece == piece; });
  if (same != kept.end()) {
    if (!greater(added, *same)) return false;
    kept.erase(same);
  }
  kept.insert(std::upper_bound(kept.begin(), kept.end(), added, by_value), std::move(added));
  if (std::ssize(kept) > limit) kept.pop_back();
  return true;
}

bool LayerContexts::add_quantile(int64_t latent, KeptPiece&& added) {
  std::vector<KeptPiece>& samples = quantile[latent];
  const int32_t bin = added.bin;
  const auto place = std::lower_bound(samples.begin(), samples.end(), added, by_priority);
  if (place != samples.end() && place->piece == added.piece && place->bin == bin) {
    if (!greater(added, *place)) return false;
    *place = std::move(added);
    return true;
  }
  const int64_t index = place - samples.begin();
  samples.insert(place, std::move(added));
  int64_t first = index, last = index;
  while (first > 0 && samples[first - 1].bin == bin) --first;
  while (last + 1 < std::ssize(samples) && samples[last + 1].bin == bin) ++last;
  if (last - first + 1 <= settings_.per_quantile) return true;
  samples.erase(samples.begin() + last);
  return index != last;
}

// With a higher maximum the lowest part reaches further up: the bins that it takes in become one.
void LayerContexts::raise_maximum(int64_t latent, float value) {
  maximum[latent] = value;
  const std::vector<int32_t> bins = part_bins(activation_bin(value), settings_.quantiles);
  const int32_t end = bins.empty() ? std::numeric_limits<int32_t>::max() : bins.front();
  if (end == lowest_part_end_[latent]) return;
  lowest_part_end_[latent] = end;
  std::vector<KeptPiece>& samples = quantile[latent];
  int64_t lowest = 0;
  for (KeptPiece& each : samples) {
    if (each.bin >= end) continue;
    each.bin = lowest_bin;
    ++lowest;
  }
  std::sort(samples.begin(), samples.end(), by_priority);
  if (lowest > settings_.per_quantile) {
    samples.erase(samples.begin() + settings_.per_quantile, samples.begin() + lowest);
  }
}

void LayerContexts::merge(const LayerContexts& other) {
  const auto firings_of = [](int64_t latent, const KeptPiece& kept) {
    std::vector<LatentFiring> firings;
    for (const Firing& each : kept.firings) firings.push_back({static_cast<int32_t>(latent), each});
    return firings;
  };
  for (int64_t i = 0; i < latents; ++i) {
    fired[i] += other.fired[i];
    if (other.maximum[i] > maximum[i]) raise_maximum(i, other.maximum[i]);
    for (const KeptPiece& each : other.top[i]) {
      const std::vector<LatentFiring> firings = firings_of(i, each);
      add_by_value(top[i], settings_.top, each.piece, each.value, firings.data(), firings.data() + firings.size());
    }
    for (KeptPiece each : other.quantile[i]) {
      if (each.bin < lowest_part_end_[i]) each.bin = lowest_bin;
      add_quantile(i, std::move(each));
    }
    for (const KeptPiece& each : other.near_miss[i]) {
      add_by_value(near_miss[i], settings_.near_miss, each.piece, each.value, nullptr, nullptr);
    }
    if (std::ssize(near_miss[i]) == settings_.near_miss && settings_.near_miss > 0) {
      near_floor_[i] = near_miss[i].back().value;
    }
  }
  for (size_t i = 0; i < histogram.size(); ++i) histogram[i] += other.histogram[i];
}

void LayerContexts::refresh() {
  for (int64_t i = 0; i < latents; ++i) {
    for (KeptPiece& each : quantile[i]) {
      each.priority = priority(each.piece, i);
      each.bin = activation_bin(each.value);
    }
    lowest_part_end_[i] = 0;
    if (maximum[i] > 0) raise_maximum(i, maximum[i]);
    std::sort(top[i].begin(), top[i].end(), by_value);
    std::sort(near_miss[i].begin(), near_miss[i].end(), by_value);
    const bool full = settings_.near_miss > 0 && std::ssize(near_miss[i]) == settings_.near_miss;
    near_floor_[i] = full ? near_miss[i].back().value : nothing;
  }
}

ContextSet::ContextSet(const ContextSettings& given, const std::vector<std::pair<int64_t, int64_t>>& latents_of_layers)
    : settings(given) {
  check_settings(given);
  for (const auto& [layer, latents] : latents_of_layers) layers.emplace_back(layer, latents, given);
}

// The pieces with the lowest priorities of all that ever came.
bool ContextSet::accept_random(uint64_t piece) {
  const std::pair<uint64_t, uint64_t> entry{piece_priority(settings.seed, piece, 0), piece};
  const auto place = std::lower_bound(random.begin(), random.end(), entry);
  if (place != random.end() && *place == entry) return true;
  if (place - random.begin() >= settings.random) return false;
  random.insert(place, entry);
  if (std::ssize(random) > settings.random) {
    for (LayerContexts& each : layers) each.random.erase(random.back().second);
    random.pop_back();
  }
  return true;
}

void ContextSet::add(const Piece& piece, const std::vector<PieceFirings>& layer_firings, int64_t counted) {
  ++pieces;
  positions += counted;
  const bool at_random = accept_random(piece.id);
  bool kept = at_random;
  for (size_t i = 0; i < layers.size(); ++i) {
    kept |= layers[i].add(piece.id, layer_firings[i]);
    if (!at_random) continue;
    std::vector<LatentFiring>& mine = layers[i].random[piece.id];
    if (layer_firings[i].firings > mine) mine = layer_firings[i].firings;
  }
  if (kept) tokens.try_emplace(piece.id, piece.tokens);
  if (tokens.size() > 2 * swept_ + 65536) sweep();
}

void ContextSet::merge(const ContextSet& other) {
  const auto key = [](const ContextSettings& s) {
    return std::vector<uint64_t>{static_cast<uint64_t>(s.length),
                                 static_cast<uint64_t>(s.top),
                                 static_cast<uint64_t>(s.quantiles),
                                 static_cast<uint64_t>(s.per_quantile),
                                 static_cast<uint64_t>(s.random),
                                 static_cast<uint64_t>(s.near_miss),
                                 s.seed};
  };
  bool same = key(settings) == key(other.settings) && layers.size() == other.layers.size();
  for (size_t i = 0; same && i < layers.size(); ++i) {
    same = layers[i].layer == other.layers[i].layer && layers[i].latents == other.layers[i].latents;
  }
  if (!same) {
    fail("contexts", "contexts of other settings, layers or numbers of latents cannot be merged",
         "give every shard the same --sae, --length, --top, --quantiles, --random, --near-miss and --seed");
  }
  pieces += other.pieces;
  positions += other.positions;
  for (size_t i = 0; i < layers.size(); ++i) layers[i].merge(other.layers[i]);
  for (const auto& [priority, piece] : other.random) {
    if (!accept_random(piece)) continue;
    for (size_t i = 0; i < layers.size(); ++i) {
      std::vector<LatentFiring>& mine = layers[i].random[piece];
      const auto theirs = other.layers[i].random.find(piece);
      if (theirs != other.layers[i].random.end() && theirs->second > mine) mine = theirs->second;
    }
  }
  tokens.insert(other.tokens.begin(), other.tokens.end());
  sweep();
}

std::vector<uint64_t> ContextSet::kept_pieces() const {
  std::vector<uint64_t> kept;
  for (const auto& [priority, piece] : random) kept.push_back(piece);
  size_t different = 0;
  const auto unique = [&] {
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    different = kept.size();
  };
  for (const LayerContexts& each : layers) {
    for (int64_t i = 0; i < each.latents; ++i) {
      for (const auto* set : {&each.top[i], &each.quantile[i], &each.near_miss[i]}) {
        for (const KeptPiece& entry : *set) kept.push_back(entry.piece);
      }
      // one latent's pieces are many others' too
      if (kept.size() > 2 * different + 1048576) unique();
    }
  }
  unique();
  return kept;
}

void ContextSet::sweep() {
  std::unordered_map<uint64_t, std::vector<int32_t>> left;
  for (const uint64_t piece : kept_pieces()) left.insert(tokens.extract(piece));
  tokens = std::move(left);
  swept_ = tokens.size();
}

}  // namespace introspect
