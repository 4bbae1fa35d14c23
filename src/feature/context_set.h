// What is kept of a text for every latent while it is read: sets whose contents do not depend on the order in which
// the pieces come, so that batches of any size, several processes, and work that was stopped and resumed end alike.
//
// A piece is what its tokens are: its id is a hash of them, and a piece that comes twice is kept once. (Positions,
// firings and the histogram are counted as often as they come.) Memory, independent of the length of the text, for L
// latents over all layers:
//   pieces kept   at most K = top + near_miss + per_quantile * (8 ceil(log2(quantiles)) + 10) a latent
//   each of them  48 bytes and 8 bytes a position on which the latent fires
//   tokens        4 T bytes for each of at most min(pieces of the text, 2 K L) different pieces
//   statistics    8 * 64 + 12 bytes a latent
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace introspect {

struct ContextSettings {
  int64_t length = 64;       // tokens of a piece, BOS included
  int64_t top = 20;          // pieces with the highest activations
  int64_t quantiles = 5;     // equal parts of (0, maximum], cut at the nearest eighth of a doubling
  int64_t per_quantile = 4;  // random pieces of each part, beside the top ones
  int64_t random = 40;       // random pieces, the same for all latents
  int64_t near_miss = 20;    // pieces on which the latent does not fire, by the highest value before the threshold
  uint64_t seed = 1;
};
void check_settings(const ContextSettings& settings);  // throws Error(usage) for counts out of range

struct Piece {
  uint64_t id = 0;
  std::vector<int32_t> tokens;
};
Piece make_piece(std::vector<int32_t> tokens);

// Uniform 64 bits of a piece, for sampling; `stream` tells samples apart.
uint64_t piece_priority(uint64_t seed, uint64_t piece, uint64_t stream);

struct Firing {
  int32_t position = 0;
  float value = 0;
  auto operator<=>(const Firing&) const = default;
};
struct LatentFiring {
  int32_t latent = 0;
  Firing firing;
  auto operator<=>(const LatentFiring&) const = default;
};

// What is kept of a piece for one latent. Kept sets are sorted: top and near misses by value, quantile by bin, then
// priority.
struct KeptPiece {
  uint64_t piece = 0, priority = 0;
  float value = 0;              // the highest activation; of a near miss the highest value before the threshold
  int32_t bin = 0;              // of the value, in eighths of a doubling; lowest_bin: somewhere in the lowest part
  std::vector<Firing> firings;  // by position
};

// Bins of activations by their float bits: logarithmic in steps of a doubling, even inside each.
constexpr int32_t lowest_bin = std::numeric_limits<int32_t>::min();
int32_t activation_bin(float value);    // eighths of a doubling; of larger values larger
double bin_edge(int32_t bin);           // the lowest value of the bin
constexpr int64_t histogram_bins = 64;  // halves of a doubling from 2^-16 to 2^16; the first and last take the rest
int64_t histogram_bin(float value);
double histogram_edge(int64_t bin);  // the lowest value of the bin; of histogram_bins the upper end of the last
// First bin of each part of (0, maximum] but the lowest, ascending: quantiles - 1 of them.
std::vector<int32_t> part_bins(int32_t maximum_bin, int64_t quantiles);

// What one layer's latents did on one piece.
struct PieceFirings {
  std::vector<LatentFiring> firings;  // by latent, then position; values above 0
  const float* nearest = nullptr;     // [L] the highest value before the threshold, of latents that do not fire on the
                                      // piece; -infinity: no near miss
};

class LayerContexts {
 public:
  LayerContexts(int64_t layer, int64_t latents, const ContextSettings& settings);
  // Returns whether anything of the piece was kept.
  bool add(uint64_t piece, const PieceFirings& firings);
  // `other` is of the same layer and settings.
  void merge(const LayerContexts& other);
  // After the members below were filled from a file: sorts and derives what adding needs.
  void refresh();

  int64_t layer, latents;
  std::vector<int64_t> fired;                                      // [L] positions on which each fires
  std::vector<float> maximum;                                      // [L]
  std::vector<int64_t> histogram;                                  // [L, histogram_bins] positions
  std::vector<std::vector<KeptPiece>> top, quantile, near_miss;    // [L]
  std::unordered_map<uint64_t, std::vector<LatentFiring>> random;  // of the random pieces; kept by ContextSet

 private:
  bool add_by_value(std::vector<KeptPiece>& kept, int64_t limit, uint64_t piece, float value, const LatentFiring* begin,
                    const LatentFiring* end);
  bool add_near_misses(uint64_t piece, const float* nearest);
  bool add_quantile(int64_t latent, KeptPiece&& added);
  void raise_maximum(int64_t latent, float value);
  uint64_t priority(uint64_t piece, int64_t latent) const;

  ContextSettings settings_;
  std::vector<int32_t> lowest_part_end_;  // [L] the first bin above the lowest part
  std::vector<float> near_floor_;         // [L] what a near miss must reach
};

class ContextSet {
 public:
  // `latents_of_layers`: each layer with its number of latents.
  ContextSet(const ContextSettings& settings, const std::vector<std::pair<int64_t, int64_t>>& latents_of_layers);
  // What every layer (in the order of `layers`) did on the piece, which has `counted` positions that count.
  void add(const Piece& piece, const std::vector<PieceFirings>& layer_firings, int64_t counted);
  // Throws Error if the other one was made with other settings or layers.
  void merge(const ContextSet& other);
  // The pieces that are kept for a latent or as random ones, ascending.
  std::vector<uint64_t> kept_pieces() const;

  ContextSettings settings;
  std::vector<LayerContexts> layers;
  int64_t pieces = 0, positions = 0;                          // read so far
  std::unordered_map<uint64_t, std::vector<int32_t>> tokens;  // of the pieces kept, and some that were
  std::vector<std::pair<uint64_t, uint64_t>> random;          // priority and piece, ascending

 private:
  bool accept_random(uint64_t piece);
  void sweep();
  size_t swept_ = 0;  // pieces that the last sweep left
};

}  // namespace introspect
