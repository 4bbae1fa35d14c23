#include "text/vocabulary.h"

#include <cstring>

namespace introspect::text {

uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kFactor = 0x9E3779B97F4A7C15ULL;
  uint64_t hash = bytes.size() * kFactor;
  while (bytes.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 32;
    bytes.remove_prefix(8);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, bytes.data(), bytes.size());
  hash = (hash ^ rest) * kFactor;
  hash ^= hash >> 29;
  hash *= 0xBF58476D1CE4E5B9ULL;
  return hash ^ hash >> 32;
}

Vocabulary::Added Vocabulary::add(std::string_view token, int32_t id) {
  if (static_cast<size_t>(count_ + 1) * 2 > slots_.size()) grow();
  const size_t at = slot(token);
  if (slots_[at] >= 0) return slots_[at] == id ? Added::known : Added::text_taken;
  if (contains(id)) return Added::id_taken;
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[id] = {bytes_.size(), static_cast<uint32_t>(token.size()), true};
  bytes_.append(token);
  slots_[at] = id;
  ++count_;
  return Added::fresh;
}

int32_t Vocabulary::find(std::string_view token) const {
  return slots_.empty() ? -1 : slots_[slot(token)];
}

std::string_view Vocabulary::token(int64_t id) const {
  if (!contains(id)) return {};
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(entry.begin, entry.length);
}

bool Vocabulary::contains(int64_t id) const {
  return id >= 0 && id < size() && entries_[static_cast<size_t>(id)].used;
}

size_t Vocabulary::slot(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash_bytes(token) & mask;
  while (slots_[at] >= 0 && this->token(slots_[at]) != token) at = (at + 1) & mask;
  return at;
}

void Vocabulary::grow() {
  slots_.assign(slots_.empty() ? 1024 : slots_.size() * 2, -1);
  for (size_t id = 0; id < entries_.size(); ++id) {
    if (entries_[id].used) slots_[slot(token(static_cast<int64_t>(id)))] = static_cast<int32_t>(id);
  }
}

}  // namespace introspect::text
