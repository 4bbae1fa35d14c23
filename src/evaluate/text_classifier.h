// What the words of a question tell, without any look into the target: a floor for tasks whose examples bring their
// own text and choices.
#pragma once

#include "dataset/example.h"
#include "explainer/answers.h"

#include <string>
#include <vector>

namespace introspect {

// Logistic regression of changed(), learnt on the train split by plain gradient descent, the two classes weighted to
// count alike; the same on every run. Its features are words and pairs of neighbouring words, hashed into 65,536
// buckets: those of Example::input, and of each named attribute those of its value and the value as a whole. The input
// and every attribute have the same weight, however long they are.
//
// Unchanged: the content is the example's `before`. Changed: of the other choices (attribute "choices", one a line)
// the one that most changed train items changed to, the alphabet deciding ties; an example without another choice is
// unchanged. A train split that holds only one of the two gives that one everywhere, an empty one "unchanged".
//
// Of the split it answers only input, attributes and `before` are read. Throws Error for an example without one of
// the attributes, and for one to be answered that has no choices.
std::vector<Answer> text_classifier_floor(const Dataset& dataset, const std::vector<std::string>& attributes,
                                          Split split = Split::test);

}  // namespace introspect
