// What can be said of a feature without an explainer.
#pragma once

#include "dataset/example.h"
#include "evaluate/scores.h"
#include "explainer/answers.h"

#include <cstdint>
#include <vector>

namespace introspect {

// The answer of the train example whose vector has the largest dot product with the asked one (the published baseline:
// raw products, no norms), over all layers or those of the same layer alone; a tie goes to the first. Exact, in pieces
// of 65,536 train vectors: memory is pieces x width and asked x piece floats, however many there are. Throws Error
// where there is no train example (of the layer).
std::vector<Answer> nearest_neighbour(const Dataset& dataset, const std::vector<const Example*>& train, bool same_layer,
                                      Split split = Split::test);

// The true answers themselves; "" where there is none. What the simulator scores can reach.
std::vector<Answer> gold_answers(const Dataset& dataset, Split split = Split::test);

// Of several answers to each example the one that scores best by its truth: an upper bound no reader could reach
// (published as "best of five"). By simulator score, then exact match, then the order given.
std::vector<Answer> best_of(const Dataset& dataset, const std::vector<std::vector<Answer>>& answers,
                            const FeatureScorer& scorer, Split split = Split::test);

}  // namespace introspect
