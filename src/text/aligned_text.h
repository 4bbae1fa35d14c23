// Text on its way through the tokenizer, with the place in the original text that each byte came from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

// A half-open range of bytes.
struct Range {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  friend bool operator==(const Range&, const Range&) = default;
};

struct AlignedText {
  std::string text;
  bool tracked = false;       // false: `source` stays empty, which is most of the cost of encoding saved
  std::vector<Range> source;  // one for each byte of `text`

  // The piece [begin, begin + bytes.size()) of the original text, unchanged.
  static AlignedText original(std::string_view bytes, size_t begin, bool tracked) {
    AlignedText result;
    result.text = bytes;
    result.tracked = tracked;
    if (tracked) {
      result.source.reserve(bytes.size());
      for (size_t i = 0; i < bytes.size(); ++i) result.source.push_back({begin + i, begin + i + 1});
    }
    return result;
  }

  // Bytes that stand for `from` as a whole.
  void append(std::string_view bytes, Range from) {
    text.append(bytes);
    if (tracked) source.insert(source.end(), bytes.size(), from);
  }

  // A part of `other`, unchanged.
  void append(const AlignedText& other, Range part) {
    text.append(other.text, part.begin, part.size());
    if (tracked) {
      source.insert(source.end(), other.source.begin() + static_cast<std::ptrdiff_t>(part.begin),
                    other.source.begin() + static_cast<std::ptrdiff_t>(part.end));
    }
  }

  // Where `part` came from: the smallest range that holds the sources of its bytes.
  Range origin(Range part) const {
    if (!tracked || part.empty()) return {};
    Range whole = source[part.begin];
    for (size_t i = part.begin + 1; i < part.end; ++i) {
      whole.begin = std::min(whole.begin, source[i].begin);
      whole.end = std::max(whole.end, source[i].end);
    }
    return whole;
  }
};

}  // namespace introspect::text
