// WordNet 3.0, the lexical database of English, read from its own files (manual page wndb(5)): what words mean, which
// meanings are kinds of which, and the words a word form comes from.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// The 45 lexicographer files of lexnames(5): "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", ...
constexpr int wordnet_category_count = 45;
std::string_view wordnet_category_name(int category);

enum class WordClass { noun, verb, adjective, adverb };
constexpr std::array<WordClass, 4> word_classes = {WordClass::noun, WordClass::verb, WordClass::adjective,
                                                   WordClass::adverb};

// A meaning, with the words for it.
struct Synset {
  WordClass word_class = WordClass::noun;
  int category = 0;                  // below wordnet_category_count
  std::vector<std::string> lemmas;   // as written: "Paris", "ice_cream"
  std::vector<uint32_t> hypernyms;   // what it is a kind or an instance of: indices of synsets
  bool instance = false;             // a single thing: Paris
  std::string gloss;                 // definition; "example"; "example"
};

struct WordSense {
  uint32_t synset = 0;
  int64_t count = 0;  // how often WordNet's tagged texts use the word so
};

class WordNet {
 public:
  // Debian's package wordnet-base.
  static constexpr const char* default_folder = "/usr/share/wordnet";

  // Reads data.*, index.*, *.exc and cntlist.rev: half a second, 60 MB. Throws Error naming file and line for whatever
  // is broken, and with the package to install if there is no database.
  static WordNet open(const fs::path& folder = default_folder);

  const std::vector<Synset>& synsets() const { return synsets_; }

  // Senses of a word as the dictionary has it (lower case, "_" for a blank), the most frequent first; empty: none.
  const std::vector<WordSense>& senses(std::string_view lemma, WordClass word_class) const;

  // Dictionary words of the class that `form` (lower case) can be a form of: itself, the exceptions ("geese"), and
  // what the rules of morphy(7) make of it ("dogs", "running"). Each stands in the dictionary.
  std::vector<std::string> base_forms(std::string_view form, WordClass word_class) const;

  // The synset and everything it is a kind of, each once, nearest first.
  std::vector<uint32_t> with_hypernyms(uint32_t synset) const;

 private:
  using Lemmas = std::unordered_map<std::string, std::vector<WordSense>>;
  using Exceptions = std::unordered_map<std::string, std::vector<std::string>>;
  std::vector<Synset> synsets_;
  std::array<Lemmas, 4> lemmas_;
  std::array<Exceptions, 4> exceptions_;

  friend class WordNetReader;
};

}  // namespace introspect
