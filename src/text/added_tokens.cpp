#include "text/added_tokens.h"

#include "text/utf8.h"

#include <algorithm>

namespace introspect::text {

namespace {

// The character before `end` in valid UTF-8.
Character character_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return known_character(text.data() + begin);
}

bool stands_alone(std::string_view text, Range range) {
  if (range.begin > 0 && is_word(character_before(text, range.begin).code_point)) return false;
  return range.end == text.size() || !is_word(known_character(text.data() + range.end).code_point);
}

}  // namespace

void StringFinder::add(std::string_view text, int32_t value) {
  if (text.empty()) return;
  if (nodes_.empty()) {
    nodes_.emplace_back();
    std::fill(std::begin(first_), std::end(first_), -1);
  }
  int32_t node = 0;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    int32_t next = child_of(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      Node fresh;
      fresh.byte = byte;
      fresh.sibling = nodes_[node].child;
      nodes_[node].child = next;
      nodes_.push_back(fresh);
      if (node == 0) first_[byte] = next;
    }
    node = next;
  }
  if (nodes_[node].value < 0) nodes_[node].value = value;
}

int32_t StringFinder::child_of(int32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  int32_t child = nodes_[node].child;
  while (child >= 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
  return child;
}

StringFinder::Found StringFinder::find(std::string_view text, size_t from) const {
  if (nodes_.empty()) return {};
  for (size_t begin = from; begin < text.size(); ++begin) {
    int32_t node = first_[static_cast<unsigned char>(text[begin])];
    Found found;
    for (size_t at = begin + 1; node >= 0; ++at) {
      if (nodes_[node].value >= 0) found = {{begin, at}, nodes_[node].value};
      if (at == text.size()) break;
      node = child_of(node, static_cast<unsigned char>(text[at]));
    }
    if (found.value >= 0) return found;
  }
  return {};
}

void AddedTokens::add(AddedToken token) {
  by_id_[token.id] = tokens_.size();
  normalized_forms_.push_back(token.content);
  tokens_.push_back(std::move(token));
}

void AddedTokens::add_normalized_form(size_t index, std::string_view text) {
  normalized_forms_[index] = text;
}

void AddedTokens::finish() {
  for (const bool special : {true, false}) {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].special != special) continue;
      const auto value = static_cast<int32_t>(i);
      if (tokens_[i].normalized) {
        in_normalized_.add(normalized_forms_[i], value);
      } else {
        in_raw_.add(tokens_[i].content, value);
      }
    }
  }
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const std::string* AddedTokens::decoded_form(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &normalized_forms_[found->second];
}

bool AddedTokens::is_special(int64_t id) const {
  const AddedToken* token = find(id);
  return token != nullptr && token->special;
}

void AddedTokens::split(std::string_view text, bool normalized, bool with_special,
                        std::vector<Segment>& segments) const {
  const StringFinder& finder = normalized ? in_normalized_ : in_raw_;
  size_t done = 0;
  for (auto found = finder.find(text, 0); found.value >= 0; found = finder.find(text, found.range.end)) {
    const AddedToken& token = tokens_[static_cast<size_t>(found.value)];
    if (token.special && !with_special) continue;
    Range range = found.range;
    if (token.single_word && !stands_alone(text, range)) continue;
    if (token.strip_left) {
      while (range.begin > done) {
        const Character character = character_before(text, range.begin);
        if (!is_white_space(character.code_point)) break;
        range.begin -= character.length;
      }
    }
    if (token.strip_right) {
      while (range.end < text.size()) {
        const Character character = known_character(text.data() + range.end);
        if (!is_white_space(character.code_point)) break;
        range.end += character.length;
      }
    }
    // The search goes on behind the match itself: white space that this token took may be a token of its own, which
    // Hugging Face's then gives too.
    if (done < range.begin) segments.push_back({{done, range.begin}, -1});
    segments.push_back({range, token.id});
    done = range.end;
  }
  if (done < text.size()) segments.push_back({{done, text.size()}, -1});
}

}  // namespace introspect::text
