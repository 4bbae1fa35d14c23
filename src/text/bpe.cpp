#include "text/bpe.h"

#include "base/error.h"
#include "text/utf8.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace introspect::text {

namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";
constexpr size_t kShortWord = 40;               // symbols; below this a scan is faster than a heap
constexpr size_t kWordSlots = size_t{1} << 16;  // 4 MiB a workspace
constexpr uint32_t kNoRank = MergeTable::kNone;

}  // namespace

MergeTable::MergeTable(size_t count) {
  const size_t size = std::bit_ceil(std::max<size_t>(count * 5 / 3, 16));
  slots_.resize(size);
  shift_ = 64 - std::countr_zero(size);
}

size_t MergeTable::slot(uint64_t pair) const {
  size_t at = (pair * 0x9E3779B97F4A7C15ULL ^ (pair >> 32) * 0xC2B2AE3D27D4EB4FULL) >> shift_;
  while (slots_[at].pair != pair && slots_[at].rank != kNone) at = (at + 1) & (slots_.size() - 1);
  return at;
}

void MergeTable::set(int32_t left, int32_t right, uint32_t rank, int32_t result) {
  const uint64_t pair = key(left, right);
  slots_[slot(pair)] = {pair, rank, result};
}

const MergeTable::Merge& MergeTable::find(int32_t left, int32_t right) const {
  return slots_[slot(key(left, right))];
}

BpeModel::BpeModel(const Vocabulary& vocabulary, MergeTable merges, BpeSettings settings, bool byte_level)
    : vocabulary_(&vocabulary), merges_(std::move(merges)), settings_(std::move(settings)), byte_level_(byte_level) {
  if (!settings_.unknown_token.empty()) {
    unknown_id_ = vocabulary.find(settings_.unknown_token);
    if (unknown_id_ < 0) {
      fail("tokenizer",
           fmt::format("model.unk_token: got \"{}\", which is not in the vocabulary", settings_.unknown_token));
    }
  }
  std::string character;
  letter_.resize(byte_level ? 256 : 0x10000);
  for (uint32_t i = 0; i < letter_.size(); ++i) {
    character.clear();
    append_code_point(character, byte_level ? byte_to_alphabet(static_cast<unsigned char>(i)) : i);
    letter_[i] = vocabulary.find(character);
  }
  if (settings_.byte_fallback) {
    for (int i = 0; i < 256; ++i) fallback_.push_back(vocabulary.find(fmt::format("<0x{:02X}>", i)));
  }
  if (!byte_level) find_boundaries();
}

bool BpeModel::has_alphabet(const Vocabulary& vocabulary) {
  for (int i = 0; i < 256; ++i) {
    std::string letter;
    append_code_point(letter, byte_to_alphabet(static_cast<unsigned char>(i)));
    if (vocabulary.find(letter) < 0) return false;
  }
  return true;
}

// Llama-2's kind has no pre-tokenizer: a whole document is one piece. Where no token has a metaspace behind the
// character before it, no merge can reach from one word into the next, and the words can be encoded (and remembered)
// alone.
void BpeModel::find_boundaries() {
  if (settings_.ignore_merges) return;  // then a piece of several words may be a token
  if (letter_[0x2581] < 0) return;      // it would be an unknown character, which may be fused with its neighbours
  const bool all_bytes = settings_.byte_fallback && std::count(fallback_.begin(), fallback_.end(), -1) == 0;
  if (unknown_id_ < 0 && !all_bytes) return;  // a character that vanishes makes neighbours of others
  const auto stands_for_other_text = [this](std::string_view token) {
    if (unknown_id_ >= 0 && token.ends_with(settings_.unknown_token)) return true;
    return settings_.byte_fallback && token.size() >= 6 && token.ends_with('>') &&
           token.substr(token.size() - 6, 3) == "<0x";
  };
  for (int64_t id = 0; id < vocabulary_->size(); ++id) {
    const std::string_view token = vocabulary_->token(id);
    for (size_t at = token.find(kMetaspace, 1); at != std::string_view::npos; at = token.find(kMetaspace, at + 3)) {
      const std::string_view before = token.substr(0, at);
      if (before.ends_with(kMetaspace)) continue;
      if (stands_for_other_text(before)) return;
      joins_[static_cast<unsigned char>(before.back())] = true;
    }
  }
  splits_at_metaspace_ = true;
}

// The next place behind `begin` where a word ends: before a metaspace, behind another character that never joins one.
size_t BpeModel::word_end(std::string_view piece, size_t begin) const {
  if (!splits_at_metaspace_) return piece.size();
  size_t at = begin;
  do {
    while (piece.substr(at, 3) == kMetaspace) at += 3;
    at = piece.find(kMetaspace, at);
    if (at == std::string_view::npos) return piece.size();
  } while (joins_[static_cast<unsigned char>(piece[at - 1])]);
  return at;
}

int32_t BpeModel::whole(std::string_view piece) const {
  if (!byte_level_) return vocabulary_->find(piece);
  std::string token;
  append_alphabet(token, piece);
  return vocabulary_->find(token);
}

int32_t BpeModel::character_id(std::string_view character) const {
  if (character.size() <= 3) return letter_[known_character(character.data()).code_point];
  return vocabulary_->find(character);
}

// The piece as characters. The order in which an unknown token follows byte tokens is Hugging Face's own.
void BpeModel::spell(std::string_view piece, std::vector<Symbol>& symbols) const {
  symbols.clear();
  if (byte_level_) {
    symbols.resize(piece.size());
    for (uint32_t i = 0; i < piece.size(); ++i) symbols[i] = {letter_[static_cast<unsigned char>(piece[i])], i, 1};
    return;
  }
  Symbol unknown;  // waiting: id -1 is none
  const auto flush = [&] {
    if (unknown.id >= 0) symbols.push_back(unknown);
    unknown.id = -1;
  };
  for (uint32_t at = 0, length = 0; at < piece.size(); at += length) {
    length = known_character(piece.data() + at).length;
    const std::string_view character = piece.substr(at, length);
    const int32_t id = character_id(character);
    if (id >= 0) {
      flush();
      symbols.push_back({id, at, length});
      continue;
    }
    if (settings_.byte_fallback && std::all_of(character.begin(), character.end(), [this](char byte) {
          return fallback_[static_cast<unsigned char>(byte)] >= 0;
        })) {
      for (uint32_t i = 0; i < length; ++i) {
        symbols.push_back({fallback_[static_cast<unsigned char>(character[i])], at + i, 1});
      }
      continue;
    }
    if (unknown_id_ < 0) continue;
    if (unknown.id >= 0 && settings_.fuse_unknown) {
      unknown.length = at + length - unknown.begin;
    } else {
      flush();
      unknown = {unknown_id_, at, length};
    }
  }
  flush();
}

void BpeModel::merge(BpeWorkspace& workspace) const {
  if (workspace.symbols.size() < 2) return;
  workspace.symbols.size() <= kShortWord ? merge_short(workspace) : merge_long(workspace);
}

void BpeModel::merge_short(BpeWorkspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  size_t count = symbols.size();
  // for each pair its rank and what it becomes, so that a merge looks up only its two neighbours
  uint32_t rank[kShortWord];
  int32_t result[kShortWord];
  const auto look = [&](size_t i) {
    const MergeTable::Merge& merge = merges_.find(symbols[i].id, symbols[i + 1].id);
    rank[i] = merge.rank;
    result[i] = merge.result;
  };
  for (size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    const size_t best = static_cast<size_t>(std::min_element(rank, rank + count - 1) - rank);  // the leftmost
    if (rank[best] == kNoRank) break;
    symbols[best].id = result[best];
    symbols[best].length = symbols[best + 1].begin + symbols[best + 1].length - symbols[best].begin;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    std::copy(rank + best + 1, rank + count - 1, rank + best);
    std::copy(result + best + 1, result + count - 1, result + best);
    --count;
    if (best + 1 < count) look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(count);
}

// A heap of (rank, place), lowest rank first and then leftmost; entries that a later merge made stale are passed over.
void BpeModel::merge_long(BpeWorkspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<int32_t>&before = workspace.before, &after = workspace.after;
  std::vector<uint32_t>& rank = workspace.ranks;
  std::vector<uint64_t>& heap = workspace.heap;
  before.resize(symbols.size());
  after.resize(symbols.size());
  rank.assign(symbols.size(), kNoRank);
  heap.clear();
  const auto look = [&](int32_t i) {
    rank[i] = after[i] < count ? merges_.find(symbols[i].id, symbols[after[i]].id).rank : kNoRank;
    return rank[i] != kNoRank;
  };
  const auto entry = [&](int32_t i) { return static_cast<uint64_t>(rank[i]) << 32 | static_cast<uint32_t>(i); };
  for (int32_t i = 0; i < count; ++i) {
    before[i] = i - 1;
    after[i] = i + 1;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (look(i)) heap.push_back(entry(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto left = static_cast<int32_t>(top & UINT32_MAX);
    if (symbols[left].id < 0 || rank[left] != top >> 32) continue;
    const int32_t right = after[left];
    symbols[left].id = merges_.find(symbols[left].id, symbols[right].id).result;
    symbols[left].length = symbols[right].begin + symbols[right].length - symbols[left].begin;
    symbols[right].id = -1;
    after[left] = after[right];
    if (after[left] < count) before[after[left]] = left;
    for (const int32_t changed : {left, before[left]}) {
      if (changed < 0 || !look(changed)) continue;
      heap.push_back(entry(changed));
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.id < 0; });
}

// A word lies in one of two neighbouring slots; a new one goes to the first and moves what was there to the second.
void BpeModel::encode_word(std::string_view word, BpeWorkspace& workspace, std::vector<int64_t>& ids) const {
  using Word = BpeWorkspace::Word;
  Word* slots = nullptr;
  if (word.size() <= Word::kLongest) {
    if (workspace.words.empty()) workspace.words.resize(kWordSlots);
    slots = &workspace.words[hash_bytes(word) & (kWordSlots - 2)];
    for (const Word* known : {slots, slots + 1}) {
      if (known->length != word.size() || std::memcmp(known->bytes, word.data(), word.size()) != 0) continue;
      for (int i = 0; i < known->count; ++i) ids.push_back(known->ids[i]);
      return;
    }
  }
  encode_symbols(word, workspace);
  const std::vector<Symbol>& symbols = workspace.symbols;
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  if (slots == nullptr || symbols.size() > Word::kMostIds) return;
  slots[1] = slots[0];
  slots[0].length = static_cast<uint8_t>(word.size());
  slots[0].count = static_cast<uint8_t>(symbols.size());
  std::memcpy(slots[0].bytes, word.data(), word.size());
  for (size_t i = 0; i < symbols.size(); ++i) slots[0].ids[i] = symbols[i].id;
}

void BpeModel::encode_symbols(std::string_view word, BpeWorkspace& workspace) const {
  if (settings_.ignore_merges) {
    const int32_t id = whole(word);
    if (id >= 0) {
      workspace.symbols.assign(1, {id, 0, static_cast<uint32_t>(word.size())});
      return;
    }
  }
  spell(word, workspace.symbols);
  merge(workspace);
}

void BpeModel::encode(std::string_view piece, BpeWorkspace& workspace, std::vector<int64_t>& ids) const {
  for (size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
    end = word_end(piece, begin);
    encode_word(piece.substr(begin, end - begin), workspace, ids);
  }
}

void BpeModel::encode(std::string_view piece, BpeWorkspace& workspace, std::vector<Symbol>& symbols) const {
  symbols.clear();
  for (size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
    end = word_end(piece, begin);
    encode_symbols(piece.substr(begin, end - begin), workspace);
    for (Symbol symbol : workspace.symbols) {
      symbol.begin += static_cast<uint32_t>(begin);
      symbols.push_back(symbol);
    }
  }
}

}  // namespace introspect::text
