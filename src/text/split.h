// Cutting pieces at matches, as the "behavior" of tokenizer.json's Split says.
#pragma once

#include "text/aligned_text.h"
#include "text/part.h"
#include "text/pattern.h"

#include <functional>
#include <string_view>
#include <vector>

namespace introspect::text {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

SplitBehavior split_behavior(const Part& part, std::string_view otherwise);

// A stretch of text that matches, or that lies between matches.
struct Stretch {
  Range range;
  bool match = false;
};

// Replaces every range by what is left of it when it is cut at the matches of `pattern` (or, with `invert`, at what
// is between them). Empty pieces are dropped.
void split_ranges(std::string_view text, std::vector<Range>& ranges, const Pattern& pattern, bool invert,
                  SplitBehavior behavior);
// The same with every character for which `matches` holds as a match of its own.
void split_ranges(std::string_view text, std::vector<Range>& ranges, const std::function<bool(uint32_t)>& matches,
                  SplitBehavior behavior);

}  // namespace introspect::text
