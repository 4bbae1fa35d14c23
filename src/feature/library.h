// The library of descriptions: English sentences, each of which says exactly on which tokens of a text it holds.
//
//   SET             the word "Paris" · the word "is", "was" or "are" · the token " of" · words ending in "ing" ·
//                   words starting with "un" · commas · words for animals · names of countries · kinds of vehicle · ...
//                   (library_sets.h): all tokens of such words
//   PART SET        the start of names of countries · the end of the word "Paris": the first, the last token of each
//   after SET       the token behind such a word
//   before SET      the token in front of such a word
//   two words after SET            the first token of the word behind the next word
//   after SET in the same sentence every later token up to the sentence's end
//   PLACE           at the start of a sentence · inside quotation marks · in option lists · ...
//   [PART] SET with one of the conditions above: the word "the" after prepositions · commas inside quotation marks
// Text and predicate are in one-to-one relation: parse(text(p)) is p, and text(*parse(t)) is t for every t that parses,
// but for the case of words: they are compared in any case. Everything else is unparsable.
#pragma once

#include "feature/library_sets.h"
#include "feature/library_words.h"

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace introspect {

enum class SetType { named, words, token, ending, beginning };

struct WordSet {
  SetType type = SetType::named;
  uint32_t id = 0;                   // named: its number in WordSets; token: the token
  std::vector<std::string> strings;  // words: lower case, one or several; ending, beginning: one
  auto operator<=>(const WordSet&) const = default;
};

enum class WordPart { whole, start, end };
enum class ConditionType { after, before, two_after, same_sentence, place };

struct Condition {
  ConditionType type = ConditionType::place;
  WordSet set;                              // all but place
  TextPlace place = TextPlace::text_start;  // place
  auto operator<=>(const Condition&) const = default;
};

// At least one of the two is set.
struct Predicate {
  std::optional<WordSet> set;
  WordPart part = WordPart::whole;
  std::optional<Condition> condition;
  bool operator==(const Predicate&) const = default;
};

class DescriptionLibrary {
 public:
  DescriptionLibrary(const Tokenizer& tokenizer, const WordNet& wordnet, const FactTable& facts,
                     const WordSetSettings& settings = {});

  std::string text(const Predicate& predicate) const;
  std::optional<Predicate> parse(std::string_view text) const;

  // "token", "word" (one), "words" (several), "category", "morphology" for a set by itself; "previous", "next",
  // "position", "context" for a condition by itself; "pair" for both.
  std::string kind(const Predicate& predicate) const;

  // [T] whether it holds on each token; never on the first one (BOS), special tokens and behind the end.
  std::vector<uint8_t> holds(const Predicate& predicate, const TextWords& text) const;

  const WordSplitter& splitter() const { return splitter_; }
  const WordSets& sets() const { return sets_; }
  // Whether a token can be told by its piece: of several with the same piece only the first can.
  bool can_name(int32_t token) const;

 private:
  std::string set_text(const WordSet& set) const;
  std::vector<uint8_t> members(const WordSet& set, const TextWords& text) const;                    // [words]
  std::vector<uint8_t> set_tokens(const WordSet& set, WordPart part, const TextWords& text) const;  // [T]
  std::vector<uint8_t> condition_tokens(const Condition& condition, const TextWords& text) const;   // [T]

  WordSplitter splitter_;
  WordSets sets_;
  std::unordered_map<std::string, int32_t> token_of_piece_;
};

// Every kind, in the order in which a search prefers them (library_search.h).
const std::vector<std::string>& description_kinds();

std::string_view place_phrase(TextPlace place);
bool is_position(TextPlace place);  // else it is a context

// Quoted, with \" \\ \n \r \t, and \xNN for bytes that are no UTF-8.
std::string quoted_piece(std::string_view bytes);

}  // namespace introspect
