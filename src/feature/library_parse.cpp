#include "feature/library_parse.h"

#include "text/utf8.h"

#include <algorithm>

namespace introspect {

namespace {

std::string lower(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const text::Character character = text::first_character(text);
    result += character.valid ? text::lower_case(character.code_point) : std::string(text.substr(0, character.length));
    text.remove_prefix(character.length);
  }
  return result;
}

int hexadecimal(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Each part() and quoted() reads on if it finds what it looks for, and else leaves the text as it was.
class Parser {
 public:
  Parser(std::string_view text, const WordSets& sets, const std::unordered_map<std::string, int32_t>& tokens)
      : rest_(text), sets_(sets), token_of_piece_(tokens) {}

  std::optional<Predicate> description() {
    Predicate predicate;
    if (!(predicate.condition = condition())) {
      if (part("the start of ")) {
        predicate.part = WordPart::start;
      } else if (part("the end of ")) {
        predicate.part = WordPart::end;
      }
      if (!(predicate.set = word_set())) return std::nullopt;
      // a token has no parts
      if (predicate.set->type == SetType::token && predicate.part != WordPart::whole) return std::nullopt;
      if (part(" ") && !(predicate.condition = condition())) return std::nullopt;
    }
    if (!rest_.empty()) return std::nullopt;
    return predicate;
  }

 private:
  bool part(std::string_view words) {
    if (!rest_.starts_with(words)) return false;
    rest_.remove_prefix(words.size());
    return true;
  }

  std::optional<std::string> quoted() {
    if (!rest_.starts_with('"')) return std::nullopt;
    std::string bytes;
    for (size_t i = 1; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        if (bytes.empty()) return std::nullopt;
        rest_.remove_prefix(i + 1);
        return bytes;
      }
      if (c != '\\') {
        bytes += c;
        continue;
      }
      if (++i >= rest_.size()) return std::nullopt;
      switch (rest_[i]) {
        case 'n':
          bytes += '\n';
          break;
        case 'r':
          bytes += '\r';
          break;
        case 't':
          bytes += '\t';
          break;
        case '"':
        case '\\':
          bytes += rest_[i];
          break;
        case 'x': {
          if (i + 2 >= rest_.size()) return std::nullopt;
          const int high = hexadecimal(rest_[i + 1]), low = hexadecimal(rest_[i + 2]);
          if (high < 0 || low < 0) return std::nullopt;
          bytes += static_cast<char>(high * 16 + low);
          i += 2;
          break;
        }
        default:
          return std::nullopt;
      }
    }
    return std::nullopt;
  }

  std::optional<WordSet> word_set() {
    WordSet set;
    const std::string_view before = rest_;
    if (part("the token ")) {
      const auto bytes = quoted();
      if (!bytes) return std::nullopt;
      const auto token = token_of_piece_.find(*bytes);
      if (token == token_of_piece_.end()) return std::nullopt;
      set.type = SetType::token;
      set.id = static_cast<uint32_t>(token->second);
      return set;
    }
    if (part("the word ")) return words();
    for (const auto& [phrase, type] : {std::pair<std::string_view, SetType>{"words ending in ", SetType::ending},
                                       {"words starting with ", SetType::beginning}}) {
      if (!part(phrase)) continue;
      const auto letters = quoted();
      if (!letters) {
        rest_ = before;
        break;
      }
      set.type = type;
      set.strings = {lower(*letters)};
      return set;
    }
    // The longest phrase that ends where a word ends: "words for animals", not "words".
    for (size_t length = rest_.size(); length > 0; --length) {
      if (length < rest_.size() && rest_[length] != ' ') continue;
      if (const auto id = sets_.find(rest_.substr(0, length))) {
        set.id = *id;
        rest_.remove_prefix(length);
        return set;
      }
    }
    return std::nullopt;
  }

  std::optional<WordSet> words() {
    WordSet set;
    set.type = SetType::words;
    for (;;) {
      const auto word = quoted();
      if (!word) return std::nullopt;
      set.strings.push_back(lower(*word));
      if (part(", ")) continue;
      if (!part(" or ")) {
        if (set.strings.size() > 1) return std::nullopt;
        break;
      }
      const auto last = quoted();
      if (!last) return std::nullopt;
      set.strings.push_back(lower(*last));
      break;
    }
    // one text for one set: sorted, each word once, "or" before the last
    std::vector<std::string> sorted = set.strings;
    std::sort(sorted.begin(), sorted.end());
    if (sorted != set.strings || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return std::nullopt;
    return set;
  }

  std::optional<Condition> condition() {
    Condition condition;
    for (int place = 0; place < static_cast<int>(TextPlace::count); ++place) {
      if (rest_ == place_phrase(static_cast<TextPlace>(place))) {
        rest_ = {};
        condition.place = static_cast<TextPlace>(place);
        return condition;
      }
    }
    const std::string_view before = rest_;
    if (part("after ")) {
      condition.type = ConditionType::after;
    } else if (part("before ")) {
      condition.type = ConditionType::before;
    } else if (part("two words after ")) {
      condition.type = ConditionType::two_after;
    } else {
      return std::nullopt;
    }
    std::optional<WordSet> set = word_set();
    if (!set) {
      rest_ = before;
      return std::nullopt;
    }
    condition.set = std::move(*set);
    if (condition.type == ConditionType::after && part(" in the same sentence")) {
      condition.type = ConditionType::same_sentence;
    }
    return condition;
  }

  std::string_view rest_;
  const WordSets& sets_;
  const std::unordered_map<std::string, int32_t>& token_of_piece_;
};

}  // namespace

std::optional<Predicate> parse_description(std::string_view text, const WordSets& sets,
                                           const std::unordered_map<std::string, int32_t>& token_of_piece) {
  return Parser(text, sets, token_of_piece).description();
}

}  // namespace introspect
