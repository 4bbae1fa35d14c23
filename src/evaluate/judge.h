// How near a description is to the one it should be: the published measure of feature descriptions (paper, App. A.1),
// and one that needs no model.
#pragma once

#include "chat/chat_model.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

struct JudgeItem {
  std::string id, cluster;              // of the example
  std::string predicted;                // what an explainer said
  std::vector<std::string> references;  // the true descriptions: the best of them counts; at least one
};

struct Judgement {
  std::string id, cluster;
  double score = 0;       // in [0, 1]; NaN: no rating could be read
  std::string reference;  // the one that it was given for; empty where there is none
};

struct Judgements {
  std::vector<Judgement> items;         // in the order of the items
  int64_t asked = 0;                    // ratings
  int64_t unparsable = 0, refused = 0;  // of these
  int64_t empty = 0;                    // items that predict nothing: 0 without asking
  int64_t unjudged = 0;                 // items without any rating: they are in no mean
};

// The published scale of 1 to 5 and its closing sentence, with five worked examples of our own (theirs are not
// printed). The published judge was GPT-4.1-mini at temperature 0; another model gives other scores.
ChatQuestion judge_question(const std::string& predicted, const std::string& reference);
// A whole number from 1 to 5 that is the only number of the reply ("4", "Rating: 4", "4/5"); empty otherwise.
std::optional<int> parse_rating(const std::string& reply);

// Each prediction is rated against each of its references; its score is (rating - 1) / 4 of the highest.
Judgements judge_with_model(ChatModel& model, const std::vector<JudgeItem>& items);

// Without a model: the largest word_overlap.
Judgements judge_by_words(const std::vector<JudgeItem>& items);

// F1 of the words that two descriptions share, in [0, 1]: 1 for the same words, 0 for none in common, the same
// whichever stands first, for any two strings. Words are compared in lower case, and each counts once. What stands
// between double quotes (or “ ” or ` `) is one unit that matches only the same unit, blanks at its ends apart, and
// weighs three words, so that 'the word "France"' against 'the word "Spain"', of the same kind and no more, comes to
// 0.25. Words that say nothing ("the", "of") and punctuation do not count, except where a description has nothing else.
double word_overlap(const std::string& first, const std::string& second);

// Every prediction with another item's references, for the floor: what answers score that fit some other feature. Items
// have other references than their own wherever any others exist; the seed decides.
std::vector<JudgeItem> with_other_references(const std::vector<JudgeItem>& items, uint64_t seed);

// Mean over the items that have a score, with its 95% interval from a bootstrap over clusters.
struct JudgeSummary {
  double mean, low, high;  // NaN where there is none
  int64_t items = 0, clusters = 0;
};
JudgeSummary summarise(const Judgements& judgements, uint64_t seed);

}  // namespace introspect
