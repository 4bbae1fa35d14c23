// Descriptions that others made: explanation exports of neuronpedia.org, as they lie in its public bucket under
// v1/<model>/<source>/explanations/batch-N.jsonl.gz. A line is an object of which these keys are read:
//   modelId               "llama3.1-8b"
//   layer                 "19-llamascope-res-131k": the source; the number in front of the first '-' is the layer
//   index                 17 or "17": the latent
//   description           "references to Paris"; several lines for a latent are several labels
//   explanationModelName  "gpt-4o-mini"; counted
#pragma once

#include "feature/descriptions.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct NeuronpediaSettings {
  std::string model_id;  // lines of other models are passed over; empty: the file's one model
  std::string source;    // likewise
  // Latents of the SAE; lines of others are counted and left out. -1: any.
  int64_t latents = -1;
};

struct NeuronpediaReport {
  int64_t files = 0, lines = 0, kept = 0;
  int64_t empty = 0;                                  // without a description
  int64_t duplicates = 0;                             // word for word what the latent has already
  int64_t outside = 0;                                // of latents that the SAE does not have
  int64_t other_models = 0;                           // and sources, than were asked for
  std::map<std::string, int64_t> explanation_models;  // of the kept; "" where it is not said
};

// A file (.jsonl, .jsonl.gz, or .json with a list, as the retired export answered) or a folder of such. By layer, then
// latent; labels in the order of the lines, their source "neuronpedia", their scores NaN until they are simulated.
// Throws Error naming file and line for broken lines, for two sources of one layer, and for two models where none was
// asked for.
std::vector<DescribedFeature> import_neuronpedia(const fs::path& path, const NeuronpediaSettings& settings,
                                                 NeuronpediaReport& report);

}  // namespace introspect
