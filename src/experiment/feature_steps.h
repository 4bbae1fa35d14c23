// The steps that only a recipe of kind "features" has.
#pragma once

#include "evaluate/feature_score.h"
#include "experiment/recipe.h"
#include "sae/sae.h"

#include <memory>
#include <vector>

namespace introspect {

// Reads the text with the recipe's SAEs: a context store (feature/context_store.h) in `folder`.
void contexts_step(const Recipe& recipe, const fs::path& folder);

// Descriptions of every latent from the library: descriptions.jsonl in `folder`, also of those below min_score. Not run
// where the recipe names a file of descriptions.
void describe_step(const Recipe& recipe, const fs::path& contexts, const fs::path& folder);

// Where the descriptions of a run are that is in `out`.
fs::path descriptions_file(const Recipe& recipe, const fs::path& out);

// The three steps: out/contexts, out/descriptions, out/dataset.
void feature_dataset_step(const Recipe& recipe, const fs::path& out);

// Pieces of the recipe's text that nothing was chosen by: [count, T] int32, -1 behind the end; fewer where it ends.
at::Tensor pool_of_pieces(const Recipe& recipe, const Tokenizer& tokenizer, int64_t count, uint64_t seed);

// What scores answers about the features of a data set: the library's sentences, simulated.
std::unique_ptr<FeatureScorer> feature_scorer(const Recipe& recipe, const Dataset& dataset, const fs::path& folder);

}  // namespace introspect
