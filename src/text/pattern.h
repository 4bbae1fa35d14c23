// The "pattern" of tokenizer.json: a regular expression in the dialect of Oniguruma, or a plain string.
#pragma once

#include "text/aligned_text.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

class Pattern {
 public:
  // `part` names the expression in errors ("pre_tokenizer.pattern ... (path)").
  static Pattern regex(std::string_view expression, std::string_view part);
  static Pattern literal(std::string_view text);

  // Appends every match in `text` (valid UTF-8) to `matches`, from left to right, none overlapping. Safe to call from
  // several threads. Throws Error if matching needs more than PCRE2's limits allow.
  void find_all(std::string_view text, std::vector<Range>& matches) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
  std::string literal_;
};

// The expression in PCRE2's dialect, with the meaning it has in Oniguruma's Ruby syntax: \s, \w, \h and their
// complements, \u, and "{n,m}+", which is not possessive there. Throws Error for what PCRE2 cannot express ("&&"
// and negated classes inside of classes).
std::string to_pcre2(std::string_view expression, std::string_view part);

}  // namespace introspect::text
