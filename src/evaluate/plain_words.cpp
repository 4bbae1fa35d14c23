#include "evaluate/plain_words.h"

#include "procedure/records.h"
#include "text/utf8.h"

#include <algorithm>

namespace introspect {

namespace {

bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

}  // namespace

std::vector<PlainWord> plain_words(std::string_view text) {
  std::vector<PlainWord> words;
  bool open = false, new_line = false;  // the last word may go on; a line break came since
  for (size_t at = 0; at < text.size();) {
    const text::Character letter = text::first_character(text.substr(at));
    const std::string_view raw = text.substr(at, letter.length);
    const bool in_number = (raw == "." || raw == ",") && open && at > 0 && is_digit(text[at - 1]) &&
                           at + 1 < text.size() && is_digit(text[at + 1]);
    if (letter.valid && text::is_white_space(letter.code_point)) {
      open = false;
      new_line = new_line || letter.code_point == '\n';
    } else {
      const bool letters = in_number || (letter.valid && text::is_word(letter.code_point));
      if (!letters || !open) words.push_back({"", "", new_line, letters});
      new_line = false;
      words.back().raw += raw;
      words.back().plain += letter.valid ? text::lower_case(letter.code_point) : std::string(raw);
      open = letters;
    }
    at += letter.length;
  }
  return words;
}

std::vector<std::string> choices_of(const Example& example) {
  std::vector<std::string> choices;
  const auto found = example.attributes.find("choices");
  if (found == example.attributes.end()) return choices;
  const std::string& lines = found->second;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    std::string choice = trimmed(std::string_view(lines).substr(begin, end - begin));
    if (!choice.empty()) choices.push_back(std::move(choice));
    begin = end + 1;
  }
  return choices;
}

}  // namespace introspect
