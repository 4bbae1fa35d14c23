#include "feature/library_words.h"

#include "base/error.h"
#include "text/utf8.h"

#include <algorithm>
#include <unordered_set>

namespace introspect {

namespace {

constexpr std::string_view opening_quote = "\u201c", closing_quote = "\u201d";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Bytes of a character cut in two count as letters.
WordKind kind_of_first(std::string_view text) {
  const text::Character character = text::first_character(text);
  if (!character.valid) return WordKind::letters;
  if (is_digit(text[0])) return WordKind::digits;
  if (text::is_word(character.code_point) && text[0] != '_') return WordKind::letters;
  return WordKind::punctuation;
}

size_t blanks_in_front(std::string_view text) {
  size_t count = 0;
  while (count < text.size()) {
    const text::Character character = text::first_character(text.substr(count));
    if (!character.valid || !text::is_white_space(character.code_point)) break;
    count += character.length;
  }
  return count;
}

bool is_contraction(std::string_view text) {
  static const std::unordered_set<std::string_view> endings = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  return endings.contains(text);
}

std::string lower(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const text::Character character = text::first_character(text);
    result += character.valid ? text::lower_case(character.code_point) : std::string(text.substr(0, character.length));
    text.remove_prefix(character.length);
  }
  return result;
}

bool is_capital(std::string_view word) {
  return !word.empty() && word[0] >= 'A' && word[0] <= 'Z';
}

constexpr uint32_t bit(TextPlace place) {
  return 1u << static_cast<int>(place);
}

// "Respond with one of A or B and nothing else.": which words stand in the list, and which option they belong to.
void mark_option_lists(TextWords& text) {
  const auto is = [&](size_t word, std::string_view lower) {
    return word < text.words.size() && text.words[word].lower == lower;
  };
  bool inside = false, behind = false;
  int option = 0;
  for (size_t w = 0; w < text.words.size(); ++w) {
    if (inside && is(w, "and") && is(w + 1, "nothing")) inside = false, behind = true;
    uint32_t bits = behind ? bit(TextPlace::behind_options) : 0;
    if (inside) {
      bits |= bit(TextPlace::option_list);
      if (is(w, "or")) {
        ++option;
      } else {
        bits |= bit(option == 0   ? TextPlace::first_option
                    : option == 1 ? TextPlace::second_option
                                  : TextPlace::later_option);
      }
    }
    for (int t = text.words[w].first; t <= text.words[w].last; ++t) text.places[static_cast<size_t>(t)] |= bits;
    if (w >= 3 && is(w, "of") && is(w - 1, "one") && is(w - 2, "with") && is(w - 3, "respond")) {
      inside = true, behind = false, option = 0;
    }
  }
}

void mark_said_before(TextWords& text) {
  std::unordered_set<std::string_view> seen;
  for (const Word& word : text.words) {
    if (word.kind != WordKind::letters || seen.insert(word.lower).second) continue;
    for (int t = word.first; t <= word.last; ++t) text.places[static_cast<size_t>(t)] |= bit(TextPlace::said_before);
  }
}

}  // namespace

WordSplitter::WordSplitter(const Tokenizer& tokenizer) {
  pieces_.resize(static_cast<size_t>(tokenizer.vocab_size()));
  for (size_t id = 0; id < pieces_.size(); ++id) {
    Piece& piece = pieces_[id];
    piece.bytes = tokenizer.piece(static_cast<int64_t>(id));
    piece.special = tokenizer.is_special(static_cast<int64_t>(id));
    std::string_view core = piece.bytes;
    piece.line_break = core.find('\n') != std::string_view::npos;
    piece.blank_line = piece.line_break && core.find('\n') != core.rfind('\n');
    const size_t blanks = blanks_in_front(core);
    core.remove_prefix(blanks);
    while (!core.empty() && std::string_view(" \t\r\n").find(core.back()) != std::string_view::npos)
      core.remove_suffix(1);
    piece.begins = blanks > 0;
    if (core.empty()) {
      piece.kind = WordKind::blank;
      piece.core = piece.bytes;
      continue;
    }
    piece.kind = kind_of_first(core);
    if (is_contraction(core)) {
      piece.kind = WordKind::letters;
      piece.begins = true;
    } else if (piece.kind == WordKind::punctuation) {
      size_t signs = 0;
      while (signs < core.size() && kind_of_first(core.substr(signs)) == WordKind::punctuation) {
        signs += text::first_character(core.substr(signs)).length;
      }
      const std::string_view in_front = core.substr(0, signs);
      const size_t quote = in_front.find('"');
      if (signs < core.size()) {
        piece.kind = kind_of_first(core.substr(signs));
        core.remove_prefix(signs);
        piece.begins = true;
        piece.opens_quote = quote != std::string_view::npos;
      } else {
        piece.ends_sentence = in_front.find_first_of(".!?") != std::string_view::npos;
        if (quote != std::string_view::npos) {
          piece.opens_quote = blanks > 0 && quote == 0;
          piece.closes_quote = quote > 0;
          piece.bare_quote = !piece.opens_quote && !piece.closes_quote;
        }
      }
      piece.opens_quote |= in_front.find(opening_quote) != std::string_view::npos;
      piece.closes_quote |= in_front.find(closing_quote) != std::string_view::npos;
    }
    piece.core = core;
  }
}

TextWords WordSplitter::split(std::span<const int32_t> tokens) const {
  TextWords text;
  text.tokens.assign(tokens.begin(), tokens.end());
  text.word_of.assign(tokens.size(), -1);
  text.places.assign(tokens.size(), 0);
  bool sentence_begins = false, line_begins = false, quotation = false, brackets = false;
  const Piece* before = nullptr;
  int sentence = 0, blanks_begin = -1;
  for (size_t t = 1; t < tokens.size() && tokens[t] >= 0; ++t) {
    if (tokens[t] >= size()) {
      fail("feature library", fmt::format("got token {}, expected 0 to {}", tokens[t], size() - 1),
           "contexts and tokenizer belong to different models");
    }
    const Piece& piece = pieces_[static_cast<size_t>(tokens[t])];
    uint32_t& places = text.places[t];
    if (t == 1) places |= bit(TextPlace::text_start);
    if (t == 2) places |= bit(TextPlace::text_second);
    if (t == 3) places |= bit(TextPlace::text_third);
    if (t <= 8) places |= bit(TextPlace::near_text_start);
    if (t >= 65) places |= bit(TextPlace::far_into_text);
    if (piece.special) {
      before = nullptr;
      blanks_begin = -1;
      continue;
    }
    const bool of_letters = piece.kind == WordKind::letters || piece.kind == WordKind::digits;
    const bool continues = before && of_letters && !piece.begins && before->kind == piece.kind && !before->line_break &&
                           !text.words.empty();
    // Blanks that are a token of their own belong to the word behind them.
    if (piece.kind == WordKind::blank && !piece.line_break) {
      if (blanks_begin < 0) blanks_begin = static_cast<int>(t);
      continue;
    }
    if (continues && blanks_begin < 0) {
      Word& word = text.words.back();
      word.text += piece.core;
      word.last = static_cast<int>(t);
    } else {
      if (of_letters && sentence_begins) ++sentence;
      const int first = blanks_begin < 0 ? static_cast<int>(t) : blanks_begin;
      text.words.push_back({piece.core, "", piece.kind, first, static_cast<int>(t), sentence});
      for (int blank = first; blank < static_cast<int>(t); ++blank) {
        text.word_of[static_cast<size_t>(blank)] = static_cast<int>(text.words.size()) - 1;
      }
    }
    blanks_begin = -1;
    text.word_of[t] = static_cast<int>(text.words.size()) - 1;

    // Quotation marks belong to what they enclose.
    const bool opens = piece.opens_quote || (piece.bare_quote && !quotation && (!before || before->line_break));
    const bool closes = piece.closes_quote || (piece.bare_quote && !opens);
    if (opens) quotation = true;
    if (quotation) places |= bit(TextPlace::quotation);
    if (closes || piece.blank_line) quotation = false;
    if (piece.bytes.find('(') != std::string::npos) brackets = true;
    if (brackets) places |= bit(TextPlace::brackets);
    if (piece.bytes.find(')') != std::string::npos || piece.blank_line) brackets = false;

    const bool first_of_text = t == 1 && is_capital(piece.core);
    if (of_letters && (sentence_begins || first_of_text)) places |= bit(TextPlace::sentence_start);
    if (piece.kind != WordKind::blank && line_begins) places |= bit(TextPlace::line_start);
    if (of_letters) sentence_begins = false;
    if (piece.kind != WordKind::blank) line_begins = false;
    sentence_begins |= piece.ends_sentence || piece.blank_line;
    line_begins |= piece.line_break;
    before = &piece;
  }
  for (Word& word : text.words) {
    word.lower = lower(word.text);
    for (int t = word.first; word.last > word.first && t <= word.last; ++t) {
      const TextPlace place = t == word.first  ? TextPlace::split_start
                              : t == word.last ? TextPlace::split_end
                                               : TextPlace::split_middle;
      text.places[static_cast<size_t>(t)] |= bit(place);
      // a sentence begins with the whole word
      for (const TextPlace whole : {TextPlace::sentence_start, TextPlace::line_start}) {
        for (int other = word.first; other <= word.last; ++other) {
          if (text.at(other, whole)) text.places[static_cast<size_t>(t)] |= bit(whole);
        }
      }
    }
  }
  mark_option_lists(text);
  mark_said_before(text);
  return text;
}

}  // namespace introspect
