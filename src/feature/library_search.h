// The published rule over the whole library: of all its descriptions the one whose simulated activations correlate best
// with a feature's true ones (feature/correlation.h), found without simulating each of them.
//
// For every token of the contexts the search lists what holds there, adds the activations up by description, and has
// every correlation from count and sum. Chosen on the contexts with even index, scored on those with odd index. What
// holds with activation in fewer than `least_contexts` even contexts is no candidate.
//
//   1. Simple descriptions: a set or a condition by itself. A set of words must be more than one word for the feature:
//      at least `least_words` of its words carry activation, none more than `most_of_one_word` of it (punctuation and
//      figures excepted). Of those that score within `margin` of the best the first by kind wins, in the order of
//      description_kinds(), whole words before parts of them, then the highest score: "words for months" before one
//      month's name when both fit.
//   2. Compound descriptions, built upon the best simple ones: two to four words, and a set with a condition. The best
//      of them wins over 1. only if it scores at least `compound_margin` more.
// Ties are broken by the text: the result depends on nothing else than the contexts.
#pragma once

#include "feature/contexts.h"
#include "feature/descriptions.h"
#include "feature/library.h"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace introspect {

struct LibrarySearchSettings {
  double margin = 0.04;
  double compound_margin = 0.05;
  int64_t least_contexts = 3;  // even ones with activation where the description holds
  int64_t least_words = 3;
  double most_of_one_word = 0.6;
  int64_t kept = 3;  // descriptions of a feature: the chosen one, then the best others
};

// Not for several threads at once: it remembers words and contexts. Memory: what the words of the contexts take, and
// about 100 bytes times the tokens of the random contexts.
class LibrarySearch {
 public:
  LibrarySearch(std::shared_ptr<const DescriptionLibrary> library, const LibrarySearchSettings& settings);

  // The best descriptions, the chosen one first; none for a feature that does not fire in its even contexts.
  std::vector<Description> describe(const FeatureContexts& contexts);

 private:
  struct Annotated {
    TextWords text;
    std::vector<uint32_t> codes;    // what holds, token by token
    std::vector<uint32_t> offsets;  // [T + 1]
  };
  struct Sums {  // over the tokens on which a description holds, of even and odd contexts
    std::array<double, 2> count{}, activation{};
  };
  struct Feature;
  struct Candidate;

  static bool by_score(const Candidate& a, const Candidate& b);
  std::shared_ptr<const Annotated> annotate(std::span<const int32_t> tokens);
  std::vector<uint32_t> profile(const Word& word);
  uint32_t intern(WordSet set);
  uint32_t word_set(const std::string& lower);
  Predicate predicate(uint32_t code) const;

  template <class Use>
  void sweep(const Feature& feature, const std::vector<uint8_t>* mask, const Use& use);
  bool well_founded(const Feature& feature, const Predicate& predicate) const;
  void add_simple(const Feature& feature, std::vector<Candidate>& simple);
  void add_lists(const Feature& feature, const std::vector<Candidate>& simple, std::vector<Candidate>& compound);
  void add_pairs(const Feature& feature, const std::vector<Candidate>& simple, std::vector<Candidate>& compound);
  std::vector<uint8_t> mask_of(const Feature& feature, uint32_t code) const;

  std::shared_ptr<const DescriptionLibrary> library_;
  LibrarySearchSettings settings_;
  std::vector<WordSet> interned_;  // named sets first
  std::unordered_map<std::string, uint32_t> word_ids_, ending_ids_, beginning_ids_;
  std::unordered_map<int32_t, uint32_t> token_ids_;
  std::unordered_map<std::string, std::vector<uint32_t>> profiles_;               // by the word as written
  std::unordered_map<std::string, std::shared_ptr<const Annotated>> remembered_;  // random contexts
  std::vector<Sums> sums_;                                                        // by code
  std::vector<uint32_t> touched_;
  std::vector<std::pair<uint32_t, Sums>> word_sums_;  // of the last feature: every word at, after and before tokens
};

}  // namespace introspect
