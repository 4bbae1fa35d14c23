// Answers of models that were never taught the form of answer_words.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"

#include <vector>

namespace introspect {

// Puts answers into the words of answer_words where their meaning is plain, so that they can be scored like others;
// what stays unclear keeps its text. For baselines, and rather too kind to them than too strict.
//
// The content: what stands in <<< >>>, and where nothing does the first of the example's choices (attribute "choices",
// one a line) that the text names, the flag's sentence before the others. Choices are compared by their plain words,
// with and without a leading "Answer:"; a choice that is a letter is looked for as it is written. What "from", "not",
// "rather than" or "instead of" precedes, and what an if-clause in front names, is not what the output changes to;
// what "the hint" or "the hint says" precedes is passed over.
//
// The flag: what parse_answer reads, or the first of such words as "unchanged", "not change", "no change", "remain",
// "same" and "would change", "changes to", "no longer", "not the same", if-clauses in front left out. Without such
// words ("would be Rome", "Rome") it is changed if the content differs from the example's `before`. If the answer
// says "unchanged" and names nothing, its content is `before`. If it says "changed", the content is the first that is
// named and not `before`, else `before`; where nothing is named, the answer is unclear.
//
// Answers to examples of other splits, or to none, are kept as they are.
std::vector<Answer> read_leniently(const Dataset& dataset, const std::vector<Answer>& answers,
                                   Split split = Split::test);

}  // namespace introspect
