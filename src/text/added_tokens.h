// Added and special tokens: found in the text before anything else looks at it.
#pragma once

#include "text/aligned_text.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace introspect::text {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  // only between characters that are no word characters
  bool strip_left = false;   // takes the white space before it ("lstrip")
  bool strip_right = false;  // and behind it
  bool normalized = true;    // looked for in the normalized text
  bool special = false;
};

// Finds the longest of a set of strings at each place. A trie in flat arrays, entered only at bytes that begin one.
class StringFinder {
 public:
  void add(std::string_view text, int32_t value);  // the first of equal texts stays; an empty text is passed over
  // The leftmost and, there, longest string at or behind `from`; value -1 if there is none.
  struct Found {
    Range range;
    int32_t value = -1;
  };
  Found find(std::string_view text, size_t from) const;
  bool empty() const { return nodes_.empty(); }

 private:
  struct Node {
    int32_t value = -1;
    int32_t child = -1;    // first child
    int32_t sibling = -1;  // next child of the same parent
    unsigned char byte = 0;
  };
  int32_t child_of(int32_t node, unsigned char byte) const;
  std::vector<Node> nodes_;  // nodes_[0] is the root
  int32_t first_[256];       // the root's children
};

// A part of a text: an added token, or (id -1) text between them.
struct Segment {
  Range range;
  int32_t id = -1;
};

class AddedTokens {
 public:
  void add(AddedToken token);
  // For tokens with `normalized`: what the token reads after normalization.
  void add_normalized_form(size_t index, std::string_view text);
  // To be called when all are added: special tokens win over others of the same text.
  void finish();

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(int64_t id) const;
  // What the decoder is given for it: the text it is found as. Null if `id` is no added token.
  const std::string* decoded_form(int64_t id) const;
  bool is_special(int64_t id) const;

  // Cuts `text` into segments. `normalized` says which of the two sets is looked for; special tokens are text like
  // any other unless `with_special`.
  void split(std::string_view text, bool normalized, bool with_special, std::vector<Segment>& segments) const;
  bool has_any(bool normalized) const { return !(normalized ? in_normalized_ : in_raw_).empty(); }

 private:
  std::vector<AddedToken> tokens_;
  std::vector<std::string> normalized_forms_;
  std::unordered_map<int64_t, size_t> by_id_;
  StringFinder in_raw_, in_normalized_;
};

}  // namespace introspect::text
