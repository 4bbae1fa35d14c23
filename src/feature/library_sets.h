// Named sets of words, "months" or "words for animals": what descriptions of the library are built from.
//
// Four sources: lists of closed classes (pronouns, months, ...), the look of a word (capitals, digits, signs), the
// subjects and objects of a fact table, and WordNet: its 45 lexicographer categories, the four word classes, and every
// meaning that is the hypernym of at least `least_hyponyms` words. A word counts as what it means in at least
// `least_share` of its uses in WordNet's tagged texts, so that "in" is no unit of length.
#pragma once

#include "feature/library_words.h"
#include "procedure/records.h"
#include "text/wordnet.h"

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace introspect {

struct WordSetSettings {
  double least_share = 0.3;
  int64_t least_hyponyms = 8;
  int64_t most_hyponyms = 8000;  // what nearly everything is a kind of ("entity") tells nothing
};

struct NamedSet {
  std::string phrase;  // "names of countries"
  std::string kind;    // "category" or "morphology"
  bool of_signs = false;  // punctuation, line breaks and figures: one member may stand for all
};

class WordSets {
 public:
  WordSets(const WordNet& wordnet, const FactTable& facts, const WordSetSettings& settings = {});

  const std::vector<NamedSet>& sets() const { return sets_; }
  std::optional<uint32_t> find(std::string_view phrase) const;

  // Sets that a word belongs to by itself, ascending. Safe from several threads; remembers every word it is asked for.
  const std::vector<uint32_t>& of_word(const Word& word) const;
  // The same for every word of a text, with the sets that names of several words ("New York") bring to their words.
  std::vector<std::vector<uint32_t>> of_text(const TextWords& text) const;

  // A word in lower case as English writes it: "paris" → "Paris".
  std::string written(const std::string& lower) const;

 private:
  struct Name {  // a name of several words, in lower case, with its sets
    std::vector<std::string> words;
    std::vector<uint32_t> sets;
  };
  struct Meaning {
    std::vector<std::pair<uint32_t, double>> synsets;  // with their shares of all uses
    double total = 0;
  };
  uint32_t add_set(const std::string& phrase, const std::string& kind, bool of_signs = false);
  void add_word(const std::string& lower, uint32_t set);
  void add_name(const std::string& name, uint32_t set);
  void add_closed_classes();
  void add_looks();
  void add_facts(const FactTable& facts);
  void add_wordnet();
  Meaning meaning(const std::string& lower, bool capital) const;
  std::vector<uint32_t> compute(const Word& word) const;
  void add_look_of(const Word& word, std::vector<uint32_t>& sets) const;
  void add_meaning_of(const Word& word, std::vector<uint32_t>& sets) const;

  WordNet wordnet_;
  WordSetSettings settings_;
  std::vector<NamedSet> sets_;
  std::unordered_map<std::string, uint32_t> by_phrase_;
  std::unordered_map<std::string, std::vector<uint32_t>> listed_;      // lower-case word → closed classes and facts
  std::unordered_map<std::string, std::vector<Name>> names_;           // by first word
  std::unordered_map<std::string, std::string> capitalised_;           // lower → as facts write it
  std::unordered_map<std::string, bool> closed_;                       // words of closed classes have no other meaning
  std::unordered_map<uint32_t, uint32_t> of_synset_;                   // synset → set
  std::vector<uint32_t> of_category_;                                  // by WordNet's category
  std::vector<uint32_t> of_class_;                                     // by WordClass
  std::unordered_map<std::string, uint32_t> looks_;                    // phrase → set, for add_look_of

  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, std::vector<uint32_t>> known_;  // by text as written
};

}  // namespace introspect
