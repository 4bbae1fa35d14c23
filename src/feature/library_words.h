// The words of a piece of text that is given as tokens, whatever the tokenizer: what the library's predicates are
// about.
#pragma once

#include "text/tokenizer.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

enum class WordKind { letters, digits, punctuation, blank };

// Where in a text a token stands; a bit each in TextWords::places.
enum class TextPlace {
  text_start,       // the first token
  text_second,      // the second token
  text_third,       // the third
  near_text_start,  // the first eight
  far_into_text,    // from the 65th on
  sentence_start,   // the first word of a sentence
  line_start,       // the first word of a line
  quotation,        // inside double quotation marks
  brackets,         // inside round brackets
  option_list,      // between "Respond with one of" and "and nothing else"
  behind_options,   // behind an option list
  first_option,
  second_option,
  later_option,
  said_before,  // a word of letters that stood in the text before
  split_start,  // the first token of a word of several
  split_middle,
  split_end,
  count
};

struct Word {
  std::string text, lower;  // without blanks and what stands in front of the letters: "Paris" of ` "Paris`
  WordKind kind = WordKind::letters;
  int first = 0, last = 0;  // its tokens
  int sentence = 0;         // sentences are counted through the text
};

struct TextWords {
  std::vector<int32_t> tokens;
  std::vector<Word> words;
  std::vector<int> word_of;      // [T] the token's word; -1 for the first token (BOS), special ones and behind the end
  std::vector<uint32_t> places;  // [T] bits of TextPlace
  bool at(int token, TextPlace place) const {
    return (places[static_cast<size_t>(token)] >> static_cast<int>(place)) & 1;
  }
};

// Tokens of letters that follow each other without a blank are one word, and so are digits; every other token is a word
// of its own. Blanks belong to the word behind them, line breaks are words. A letter's token may have a sign in front
// ('"You'), which is not part of the word.
class WordSplitter {
 public:
  explicit WordSplitter(const Tokenizer& tokenizer);
  // A context: BOS, then text; -1 behind the end. Throws Error for a token that the tokenizer does not have.
  TextWords split(std::span<const int32_t> tokens) const;
  const std::string& piece(int32_t token) const { return pieces_.at(static_cast<size_t>(token)).bytes; }
  int64_t size() const { return std::ssize(pieces_); }

 private:
  struct Piece {
    std::string bytes, core;  // core: without blanks and a sign in front of letters
    WordKind kind = WordKind::blank;
    bool special = false;
    bool begins = false;        // a word, even behind one of its kind
    bool opens_quote = false;   // a quotation mark in front of letters or behind a blank
    bool closes_quote = false;  // one behind other signs
    bool bare_quote = false;    // one alone: opens or closes by what stands before
    bool ends_sentence = false, line_break = false, blank_line = false;
  };
  std::vector<Piece> pieces_;
};

}  // namespace introspect
