// The BPE model of tokenizer.json: a piece of text becomes characters, which are merged in the order of the merges.
#pragma once

#include "text/aligned_text.h"
#include "text/vocabulary.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

struct BpeSettings {
  std::string unknown_token;   // empty: characters that are not in the vocabulary vanish
  bool fuse_unknown = false;   // neighbouring unknown characters become one token
  bool byte_fallback = false;  // an unknown character becomes its bytes <0x00>..<0xFF>
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
};

// Merges by pair of ids: open addressing in one array, since every step of every merge looks here.
class MergeTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Merge {
    uint64_t pair = UINT64_MAX;
    uint32_t rank = kNone;
    int32_t result = -1;
  };
  explicit MergeTable(size_t count = 0);
  void set(int32_t left, int32_t right, uint32_t rank, int32_t result);  // the last of equal pairs stays
  const Merge& find(int32_t left, int32_t right) const;

 private:
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot(uint64_t pair) const;
  std::vector<Merge> slots_;
  int shift_ = 0;
};

// A token on its way: `begin` and `length` in bytes of the piece.
struct Symbol {
  int32_t id = -1;
  uint32_t begin = 0, length = 0;
};

// What one thread needs while it encodes: buffers, and the ids of the words it met lately.
struct BpeWorkspace {
  struct Word {  // 64 bytes, one cache line
    static constexpr size_t kLongest = 32, kMostIds = 7;
    char bytes[kLongest];
    uint8_t length = 0;  // 0: empty
    uint8_t count = 0;
    int32_t ids[kMostIds];
  };
  std::vector<Word> words;
  std::vector<Symbol> symbols;
  std::vector<uint32_t> ranks;
  std::vector<int32_t> before, after;  // linked list of long words
  std::vector<uint64_t> heap;
};

class BpeModel {
 public:
  // `byte_level`: pieces are raw bytes and the vocabulary spells them in GPT-2's alphabet.
  BpeModel(const Vocabulary& vocabulary, MergeTable merges, BpeSettings settings, bool byte_level);

  // Appends the ids of `piece` (valid UTF-8, or any bytes if byte_level); words met lately are remembered.
  void encode(std::string_view piece, BpeWorkspace& workspace, std::vector<int64_t>& ids) const;
  // The same with the place of each token in the piece; slower, since nothing is remembered.
  void encode(std::string_view piece, BpeWorkspace& workspace, std::vector<Symbol>& symbols) const;

  // Whether every byte's letter is in the vocabulary, so that byte_level can be asked for.
  static bool has_alphabet(const Vocabulary& vocabulary);

 private:
  void encode_word(std::string_view word, BpeWorkspace& workspace, std::vector<int64_t>& ids) const;
  void encode_symbols(std::string_view word, BpeWorkspace& workspace) const;
  int32_t whole(std::string_view piece) const;
  void spell(std::string_view piece, std::vector<Symbol>& symbols) const;
  void merge(BpeWorkspace& workspace) const;
  void merge_short(BpeWorkspace& workspace) const;
  void merge_long(BpeWorkspace& workspace) const;
  int32_t character_id(std::string_view character) const;
  void find_boundaries();
  size_t word_end(std::string_view piece, size_t begin) const;

  const Vocabulary* vocabulary_;
  MergeTable merges_;
  BpeSettings settings_;
  bool byte_level_;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> letter_;       // byte_level: the id of each byte; else of each character below U+10000
  std::vector<int32_t> fallback_;     // the ids of <0x00>..<0xFF>, -1 if missing
  bool splits_at_metaspace_ = false;  // words can be encoded alone; see find_boundaries
  std::array<bool, 256> joins_{};     // by the last byte of a character: some token has U+2581 behind it
};

}  // namespace introspect::text
