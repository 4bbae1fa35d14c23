// Ground truth from the library: a description for each feature that one fits.
#pragma once

#include "base/json.h"
#include "feature/contexts.h"
#include "feature/descriptions.h"
#include "feature/library_search.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace introspect {

// Where contexts come from: a context store, or a test. contexts() is called from several threads at once.
struct ContextSource {
  std::vector<std::pair<int64_t, int64_t>> latents_of_layers;  // layer, latents
  std::function<FeatureContexts(int64_t layer, int64_t latent)> contexts;
};

struct DescribeSettings {
  LibrarySearchSettings search;
  double min_score = 0.4;      // held-out correlation below which a feature counts as not described
  int64_t least_contexts = 8;  // with activation; features with fewer are too rare to be judged
  // Every so-manieth feature is described once more from shuffled activations: what the best of so many sentences
  // comes to by chance. 0: none.
  int64_t chance_every = 16;
  int workers = 2;  // threads; the result is the same for any number
};

struct DescribedFeatures {
  std::vector<DescribedFeature> described;        // by layer, then latent
  std::vector<DescribedFeature> undescribed;      // with the best that there was, if anything
  std::vector<std::pair<int64_t, int64_t>> rare;  // layer, latent
  // The same search where each context's activations stand on its tokens in random order (chance_every); of such a
  // feature what describe() finds.
  std::vector<DescribedFeature> chance;
};

// The contexts with each one's activations in random order over the tokens that may have one.
FeatureContexts with_shuffled_activations(const FeatureContexts& contexts, uint64_t seed);

// `progress`: features done, all features; called from any thread, one call at a time.
DescribedFeatures describe_features(const ContextSource& source, std::shared_ptr<const DescriptionLibrary> library,
                                    const DescribeSettings& settings,
                                    const std::function<void(int64_t, int64_t)>& progress = {});

// {"features", "rare", "undescribed", "described", "share_described", "kinds": {...}, "held_out": {quartiles}} of all
// layers together, and under "layers" of each; "chance": {"features", "described", "held_out"} of those with shuffled
// activations. Shares by kind are of the features described, which is to say of those with `min_score` or more.
Json summarize(const DescribedFeatures& features, double min_score);

}  // namespace introspect
