// What anyone could answer from the question's wording alone. They are learnt on the train split; of the split they
// answer they read the attributes and the target's own unpatched answer (`before`), never the truth.
#pragma once

#include "dataset/example.h"
#include "evaluate/scores.h"
#include "explainer/answers.h"

#include <string>
#include <vector>

namespace introspect {

// The majority answer of each cell, a cell being a combination of the named attributes' values: changed or unchanged
// by the more frequent flag (unchanged on a tie); the content is the example's `before` or the most frequent `after`
// of the cell's changed items (the alphabet decides ties). A cell that train does not know gets the answer of all
// train items together.
std::vector<Answer> majority_floor(const Dataset& dataset, const std::vector<std::string>& attributes,
                                   Split split = Split::test);
// majority_floor by token_type and block, and by relation.
std::vector<Answer> majority_cell_floor(const Dataset& dataset, Split split = Split::test);
std::vector<Answer> majority_relation_floor(const Dataset& dataset, Split split = Split::test);

// Always "changed", to the most frequent `after` of the changed items with the same attribute: the floor that content
// on changed items has to clear, since the majorities may never say "changed".
std::vector<Answer> always_changed_floor(const Dataset& dataset, const std::string& attribute = "relation",
                                         Split split = Split::test);

// Always "unchanged", from the target's own unpatched answer.
std::vector<Answer> always_unchanged_floor(const Dataset& dataset, Split split = Split::test);

// The train split's most frequent answer, word for word.
std::vector<Answer> most_frequent_floor(const Dataset& dataset, Split split = Split::test);

// Those of the data set's task as rows of the explainer "none"; for input ablation the majorities are by wording and by
// wording and subject, and there is a classifier of the words (text_classifier.h).
std::vector<Row> floor_rows(const Dataset& dataset, Split split = Split::test);

}  // namespace introspect
