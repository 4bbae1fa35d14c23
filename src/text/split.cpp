#include "text/split.h"

#include "base/error.h"
#include "text/utf8.h"

namespace introspect::text {

namespace {

void keep(std::vector<Range>& pieces, Range range) {
  if (!range.empty()) pieces.push_back(range);
}

// The stretches of one piece, which cover it, to pieces.
void join_stretches(const std::vector<Stretch>& stretches, SplitBehavior behavior, std::vector<Range>& pieces) {
  const size_t first = pieces.size();
  bool previous = false;  // whether the stretch before was a match
  switch (behavior) {
    case SplitBehavior::isolated:
      for (const Stretch& stretch : stretches) keep(pieces, stretch.range);
      break;
    case SplitBehavior::removed:
      for (const Stretch& stretch : stretches) {
        if (!stretch.match) keep(pieces, stretch.range);
      }
      break;
    case SplitBehavior::contiguous:
      for (const Stretch& stretch : stretches) {
        if (stretch.match == previous && pieces.size() > first) {
          pieces.back().end = stretch.range.end;
        } else {
          keep(pieces, stretch.range);
        }
        previous = stretch.match;
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Stretch& stretch : stretches) {
        if (stretch.match && !previous && pieces.size() > first) {
          pieces.back().end = stretch.range.end;
        } else {
          keep(pieces, stretch.range);
        }
        previous = stretch.match;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (size_t i = stretches.size(); i-- > 0;) {
        if (stretches[i].match && !previous && pieces.size() > first) {
          pieces.back().begin = stretches[i].range.begin;
        } else {
          keep(pieces, stretches[i].range);
        }
        previous = stretches[i].match;
      }
      std::reverse(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
      break;
  }
}

}  // namespace

SplitBehavior split_behavior(const Part& part, std::string_view otherwise) {
  const std::string name = part.text_or("behavior", otherwise);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail("tokenizer", fmt::format("{}: got \"{}\", expected one of Removed, Isolated, MergedWithPrevious, "
                                "MergedWithNext, Contiguous",
                                part.name("behavior"), name));
}

void split_ranges(std::string_view text, std::vector<Range>& ranges, const Pattern& pattern, bool invert,
                  SplitBehavior behavior) {
  std::vector<Range> pieces, matches;
  std::vector<Stretch> stretches;
  pieces.reserve(text.size() / 4);
  for (const Range& range : ranges) {
    matches.clear();
    pattern.find_all(text.substr(range.begin, range.size()), matches);
    size_t done = range.begin;
    if (behavior == SplitBehavior::isolated) {  // the common case without the detour
      for (const Range& match : matches) {
        keep(pieces, {done, range.begin + match.begin});
        keep(pieces, {range.begin + match.begin, range.begin + match.end});
        done = range.begin + match.end;
      }
      keep(pieces, {done, range.end});
      continue;
    }
    stretches.clear();
    for (const Range& match : matches) {
      const Range at{range.begin + match.begin, range.begin + match.end};
      if (done != at.begin) stretches.push_back({{done, at.begin}, invert});
      stretches.push_back({at, !invert});
      done = at.end;
    }
    if (done != range.end) stretches.push_back({{done, range.end}, invert});
    join_stretches(stretches, behavior, pieces);
  }
  ranges = std::move(pieces);
}

void split_ranges(std::string_view text, std::vector<Range>& ranges, const std::function<bool(uint32_t)>& matches,
                  SplitBehavior behavior) {
  std::vector<Range> pieces;
  std::vector<Stretch> stretches;
  for (const Range& range : ranges) {
    stretches.clear();
    for (size_t at = range.begin, length = 0; at < range.end; at += length) {
      const Character character = known_character(text.data() + at);
      length = character.length;
      const bool match = matches(character.code_point);
      if (!match && !stretches.empty() && !stretches.back().match) {
        stretches.back().range.end = at + length;
      } else {
        stretches.push_back({{at, at + length}, match});
      }
    }
    join_stretches(stretches, behavior, pieces);
  }
  ranges = std::move(pieces);
}

}  // namespace introspect::text
