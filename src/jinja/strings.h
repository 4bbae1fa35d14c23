// Text as Python sees it: by character (code point), with Unicode's white space and cases.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace introspect::jinja {

std::vector<std::string> characters(std::string_view text);  // bytes that are no UTF-8 stand alone
enum class Side { both, left, right };
// `of`: the characters to take away; empty: white space.
std::string stripped(std::string_view text, Side side, std::string_view of = {});
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalised(std::string_view text);      // the first letter large, the others small
std::string titled(std::string_view text);           // so each run of letters (the method of strings)
std::string titled_by_words(std::string_view text);  // so each word: "It's" (the filter)
std::string replaced(std::string_view text, std::string_view from, std::string_view to, int64_t most = -1);
// Without `by`: at runs of white space, none of them kept. At most `most` cuts; -1: all.
std::vector<std::string> split(std::string_view text, std::string_view by, int64_t most = -1);

// repr(text): in quotes, what cannot be printed as an escape.
std::string printable(std::string_view text);

}  // namespace introspect::jinja
