// Words as floors and lenient readers compare them.
#pragma once

#include "dataset/example.h"

#include <string>
#include <string_view>
#include <vector>

namespace introspect {

struct PlainWord {
  std::string raw;    // as it stands in the text
  std::string plain;  // in lower case
  bool on_new_line = false;
  bool letters = false;  // letters, digits and what belongs to them; else one other character
};

// Runs of letters and digits (a dot or comma between two digits belongs to the number), and every other character but
// white space by itself. Bytes that are no UTF-8 count as other characters.
std::vector<PlainWord> plain_words(std::string_view text);

// The attribute "choices": lines, each what an answer may hold between <<< and >>>, trimmed. Empty if there is none.
std::vector<std::string> choices_of(const Example& example);

}  // namespace introspect
