#include "feature/library.h"

#include "base/error.h"
#include "feature/library_parse.h"
#include "text/utf8.h"

#include <algorithm>
#include <array>

namespace introspect {

namespace {

constexpr std::array<std::string_view, static_cast<size_t>(TextPlace::count)> place_phrases = {
    "at the start of a text",
    "at the second token of a text",
    "at the third token of a text",
    "near the start of a text",
    "far into a text",
    "at the start of a sentence",
    "at the start of a line",
    "inside quotation marks",
    "inside brackets",
    "in option lists",
    "behind option lists",
    "in the first option",
    "in the second option",
    "in later options",
    "said before in the text",
    "at the start of a split word",
    "in the middle of a split word",
    "at the end of a split word"};

}  // namespace

std::string_view place_phrase(TextPlace place) {
  return place_phrases.at(static_cast<size_t>(place));
}

bool is_position(TextPlace place) {
  switch (place) {
    case TextPlace::quotation:
    case TextPlace::brackets:
    case TextPlace::option_list:
    case TextPlace::behind_options:
    case TextPlace::first_option:
    case TextPlace::second_option:
    case TextPlace::later_option:
    case TextPlace::said_before:
      return false;
    default:
      return true;
  }
}

const std::vector<std::string>& description_kinds() {
  static const std::vector<std::string> kinds = {"category", "morphology", "position", "word", "token",
                                                 "words",    "context",    "previous", "next", "pair"};
  return kinds;
}

std::string quoted_piece(std::string_view bytes) {
  std::string quoted = "\"";
  while (!bytes.empty()) {
    const text::Character character = text::first_character(bytes);
    const char c = bytes[0];
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      quoted += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (!character.valid || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      for (uint32_t i = 0; i < character.length; ++i) {
        quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[i]));
      }
    } else {
      quoted += bytes.substr(0, character.length);
    }
    bytes.remove_prefix(character.length);
  }
  return quoted + "\"";
}

DescriptionLibrary::DescriptionLibrary(const Tokenizer& tokenizer, const WordNet& wordnet, const FactTable& facts,
                                       const WordSetSettings& settings)
    : splitter_(tokenizer), sets_(wordnet, facts, settings) {
  for (int32_t id = 0; id < splitter_.size(); ++id) {
    if (!splitter_.piece(id).empty() && !tokenizer.is_special(id)) token_of_piece_.emplace(splitter_.piece(id), id);
  }
}

bool DescriptionLibrary::can_name(int32_t token) const {
  const auto found = token_of_piece_.find(splitter_.piece(token));
  return found != token_of_piece_.end() && found->second == token;
}

std::optional<Predicate> DescriptionLibrary::parse(std::string_view text) const {
  return parse_description(text, sets_, token_of_piece_);
}

std::string DescriptionLibrary::set_text(const WordSet& set) const {
  switch (set.type) {
    case SetType::named:
      return sets_.sets().at(set.id).phrase;
    case SetType::token:
      return "the token " + quoted_piece(splitter_.piece(static_cast<int32_t>(set.id)));
    case SetType::ending:
      return "words ending in " + quoted_piece(set.strings.at(0));
    case SetType::beginning:
      return "words starting with " + quoted_piece(set.strings.at(0));
    case SetType::words:
      break;
  }
  std::string text = "the word ";
  for (size_t i = 0; i < set.strings.size(); ++i) {
    if (i) text += i + 1 == set.strings.size() ? " or " : ", ";
    text += quoted_piece(sets_.written(set.strings[i]));
  }
  return text;
}

std::string DescriptionLibrary::text(const Predicate& predicate) const {
  std::string text;
  if (predicate.set) {
    if (predicate.part == WordPart::start) text += "the start of ";
    if (predicate.part == WordPart::end) text += "the end of ";
    text += set_text(*predicate.set);
  }
  if (!predicate.condition) return text;
  if (!text.empty()) text += ' ';
  const Condition& condition = *predicate.condition;
  switch (condition.type) {
    case ConditionType::after:
      return text + "after " + set_text(condition.set);
    case ConditionType::before:
      return text + "before " + set_text(condition.set);
    case ConditionType::two_after:
      return text + "two words after " + set_text(condition.set);
    case ConditionType::same_sentence:
      return text + "after " + set_text(condition.set) + " in the same sentence";
    case ConditionType::place:
      break;
  }
  return text + std::string(place_phrase(condition.place));
}

std::string DescriptionLibrary::kind(const Predicate& predicate) const {
  if (predicate.set && predicate.condition) return "pair";
  if (predicate.set) {
    switch (predicate.set->type) {
      case SetType::named:
        return sets_.sets().at(predicate.set->id).kind;
      case SetType::words:
        return predicate.set->strings.size() == 1 ? "word" : "words";
      case SetType::token:
        return "token";
      case SetType::ending:
      case SetType::beginning:
        return "morphology";
    }
  }
  switch (predicate.condition.value().type) {
    case ConditionType::after:
    case ConditionType::two_after:
      return "previous";
    case ConditionType::before:
      return "next";
    case ConditionType::same_sentence:
      return "context";
    case ConditionType::place:
      break;
  }
  return is_position(predicate.condition->place) ? "position" : "context";
}

std::vector<uint8_t> DescriptionLibrary::members(const WordSet& set, const TextWords& text) const {
  std::vector<uint8_t> member(text.words.size(), 0);
  if (set.type == SetType::named) {
    const auto sets = sets_.of_text(text);
    for (size_t w = 0; w < member.size(); ++w) member[w] = std::binary_search(sets[w].begin(), sets[w].end(), set.id);
    return member;
  }
  for (size_t w = 0; w < member.size(); ++w) {
    const Word& word = text.words[w];
    switch (set.type) {
      case SetType::words:
        member[w] = std::find(set.strings.begin(), set.strings.end(), word.lower) != set.strings.end();
        break;
      case SetType::ending:
        member[w] = word.kind == WordKind::letters && word.lower.size() > set.strings[0].size() &&
                    word.lower.ends_with(set.strings[0]);
        break;
      case SetType::beginning:
        member[w] = word.kind == WordKind::letters && word.lower.size() > set.strings[0].size() &&
                    word.lower.starts_with(set.strings[0]);
        break;
      default:
        break;
    }
  }
  return member;
}

std::vector<uint8_t> DescriptionLibrary::set_tokens(const WordSet& set, WordPart part, const TextWords& text) const {
  std::vector<uint8_t> tokens(text.tokens.size(), 0);
  if (set.type == SetType::token) {
    for (size_t t = 1; t < tokens.size(); ++t) {
      tokens[t] = text.word_of[t] >= 0 && text.tokens[t] == static_cast<int32_t>(set.id);
    }
    return tokens;
  }
  const std::vector<uint8_t> member = members(set, text);
  for (size_t w = 0; w < member.size(); ++w) {
    if (!member[w]) continue;
    const Word& word = text.words[w];
    const int first = part == WordPart::end ? word.last : word.first;
    const int last = part == WordPart::start ? word.first : word.last;
    for (int t = first; t <= last; ++t) tokens[static_cast<size_t>(t)] = 1;
  }
  return tokens;
}

std::vector<uint8_t> DescriptionLibrary::condition_tokens(const Condition& condition, const TextWords& text) const {
  std::vector<uint8_t> tokens(text.tokens.size(), 0);
  if (condition.type == ConditionType::place) {
    for (size_t t = 1; t < tokens.size(); ++t) {
      tokens[t] = text.word_of[t] >= 0 && text.at(static_cast<int>(t), condition.place);
    }
    return tokens;
  }
  const bool of_tokens = condition.set.type == SetType::token;
  if (of_tokens && (condition.type == ConditionType::after || condition.type == ConditionType::before)) {
    const std::vector<uint8_t> set = set_tokens(condition.set, WordPart::whole, text);
    for (size_t t = 1; t < tokens.size(); ++t) {
      const size_t other = condition.type == ConditionType::after ? t - 1 : t + 1;
      tokens[t] = text.word_of[t] >= 0 && other < tokens.size() && set[other];
    }
    return tokens;
  }
  const std::vector<uint8_t> member =
      of_tokens ? std::vector<uint8_t>(text.words.size(), 0) : members(condition.set, text);
  for (size_t w = 0; w < member.size(); ++w) {
    if (!member[w]) continue;
    const auto mark = [&](size_t token) {
      if (token < tokens.size()) tokens[token] = 1;
    };
    switch (condition.type) {
      case ConditionType::after:
        if (w + 1 < member.size()) mark(static_cast<size_t>(text.words[w + 1].first));
        break;
      case ConditionType::two_after:
        if (w + 2 < member.size()) mark(static_cast<size_t>(text.words[w + 2].first));
        break;
      case ConditionType::before:
        if (w > 0) mark(static_cast<size_t>(text.words[w - 1].last));
        break;
      default:
        for (size_t other = w + 1; other < member.size() && text.words[other].sentence == text.words[w].sentence;
             ++other) {
          for (int t = text.words[other].first; t <= text.words[other].last; ++t) mark(static_cast<size_t>(t));
        }
    }
  }
  return tokens;
}

std::vector<uint8_t> DescriptionLibrary::holds(const Predicate& predicate, const TextWords& text) const {
  if (!predicate.condition) return set_tokens(predicate.set.value(), predicate.part, text);
  std::vector<uint8_t> tokens = condition_tokens(*predicate.condition, text);
  if (!predicate.set) return tokens;
  const std::vector<uint8_t> set = set_tokens(*predicate.set, predicate.part, text);
  for (size_t t = 0; t < tokens.size(); ++t) tokens[t] &= set[t];
  return tokens;
}

}  // namespace introspect
