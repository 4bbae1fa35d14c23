// What an explainer can tell of a residual state alone: which token it was taken at, and which layer it leaves (the
// side task of Li et al. 2025, without the text). Explainers of their own learn it: the question is a vector, the
// answer
// "<<<token>>> at layer l".
#pragma once

#include "experiment/findings.h"

#include <optional>
#include <string>

namespace introspect {

struct WhereFrom {
  std::string token;  // with its blanks
  int64_t layer = 0;
};
std::string where_from_words(const WhereFrom& from);
// Nothing for words of another form.
std::optional<WhereFrom> parse_where_from(const std::string& text);

// Right answers, for each cluster of the test split: as Counts::exact of all items, whatever the name says.
struct WhereFromCounts {
  std::vector<Counts> token, layer, both;
  int64_t unparsable = 0;  // of all seeds
};
WhereFromCounts count_where_from(const Dataset& dataset, const Row& row);

// [where_from]: makes out/where_from/dataset, trains, asks; floors are a zero and another item's vector at test time,
// the most frequent answer, and the nearest train state.
std::vector<Finding> where_from_findings(const FoundIn& run);

}  // namespace introspect
