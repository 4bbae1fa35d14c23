// Wrong labels on purpose: how much of them can an explainer be taught with before it says what is wrong?
//
// A label is an example's `answer`. Labels of train and validation examples are replaced, never those of test examples.
#pragma once

#include "dataset/example.h"

#include <map>
#include <string>
#include <vector>

namespace introspect {

enum class NoiseKind {
  random,         // the label of another train example, drawn for each example
  same_category,  // the same, of one that agrees in the attributes of LabelNoise::category
  systematic      // a fixed mapping: each label is always replaced with the same other one
};

struct LabelNoise {
  double share = 0;  // of the examples, in [0, 1]
  NoiseKind kind = NoiseKind::random;
  uint64_t seed = 1;
  std::vector<std::string> category;  // attributes; empty: those of the task (category_of)
};
Json noise_to_json(const LabelNoise& noise);
// A table { share, kind, seed, category }. Throws Error for unknown keys and kinds and a share outside [0, 1].
LabelNoise parse_noise(const Json& table, const std::string& label);

// What a category is where none is named: of features the kind of description, of patching token type, block and
// relation, of ablation the wording.
std::vector<std::string> category_of(const std::string& task);

// An example and the label that stands in place of its own.
struct NoisyLabel {
  const Example* example = nullptr;
  std::string label;
};

// The examples of the split that get a wrong label, `share` of those that have a label; in the order in which they are
// drawn, so that a smaller share is the beginning of a larger one, with the same labels. A replacement always differs
// from the true label; an example for which there is none (a category with a single label) is passed over, and counted
// in `without`. Which label depends on the seed and the example alone. Throws Error for the test split.
std::vector<NoisyLabel> noisy_labels(const Dataset& dataset, const LabelNoise& noise, Split split,
                                     int64_t* without = nullptr);

// The mapping of NoiseKind::systematic: of every label of the train split to another one, one to one. Throws Error
// where train has a single label.
std::map<std::string, std::string> systematic_labels(const Dataset& dataset, uint64_t seed);

// The data set with those labels in place of the true ones.
Dataset with_label_noise(const Dataset& dataset, const LabelNoise& noise);

}  // namespace introspect
