// Token strings and their ids, both ways.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

// Ids past this are taken for a broken file: tables are as long as the highest id.
constexpr int64_t kHighestId = (1 << 22) - 1;

uint64_t hash_bytes(std::string_view bytes);

class Vocabulary {
 public:
  enum class Added { fresh, known, text_taken, id_taken };
  // known: the same pair was there; text_taken: the text has another id; id_taken: the id has another text (nothing
  // is changed by the last two). 0 <= id <= kHighestId.
  Added add(std::string_view token, int32_t id);

  int32_t find(std::string_view token) const;  // -1: not there
  std::string_view token(int64_t id) const;    // empty if there is none; see contains
  bool contains(int64_t id) const;
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }  // the highest id and one
  int64_t count() const { return count_; }                                // of tokens

 private:
  struct Entry {
    uint64_t begin = 0;
    uint32_t length = 0;
    bool used = false;
  };
  size_t slot(std::string_view token) const;
  void grow();

  std::string bytes_;           // the texts, one behind the other
  std::vector<Entry> entries_;  // by id
  std::vector<int32_t> slots_;  // open addressing; -1 is empty
  int64_t count_ = 0;
};

}  // namespace introspect::text
