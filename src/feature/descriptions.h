// Descriptions of features, from whatever source: the ground truth T_feat is the best of them (paper, section on
// feature descriptions). A file of them, descriptions.jsonl, has one feature a line:
//   {"layer": 4, "latent": 17, "descriptions": [{"text", "kind", "source", "score", "held_out"}, ...]}
#pragma once

#include "feature/contexts.h"
#include "feature/simulator.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

struct Description {
  std::string text;     // what an explainer is to say
  std::string kind;     // "token", "word", "category", "suffix", ...; empty: not known
  std::string source;   // "library", "neuronpedia", the name of a language model
  double score = 0;     // correlation on the contexts it was chosen on; NaN: not simulated
  double held_out = 0;  // correlation on contexts it was not chosen on; NaN: not simulated
};

// A feature with its descriptions, the best first; none: nothing described it.
struct DescribedFeature {
  int64_t layer = 0, latent = 0;
  std::vector<Description> descriptions;
};

void save_descriptions(const std::vector<DescribedFeature>& features, const fs::path& file);
// Throws Error naming file and line for a broken line and a feature that stands there twice.
std::vector<DescribedFeature> load_descriptions(const fs::path& file);

// The published rule: of the candidates the one whose simulated activations correlate best with the true ones wins,
// whoever made the candidates and whichever simulator reads them. Scores are set, the best stands first, candidates
// that the simulator cannot read come last with a score of NaN. Chosen on the contexts with even index, held_out on the
// odd ones; correlations are over all tokens together (feature/correlation.h).
void choose_description(DescribedFeature& feature, const FeatureContexts& contexts, const Simulator& simulator);

}  // namespace introspect
