#include "text/bpe_merge.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

namespace introspect::text {

namespace {

using Key = uint64_t;  // a pair of symbols

Key key_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct KeyHash {
  size_t operator()(Key key) const { return (key ^ key >> 29) * 0x9E3779B97F4A7C15ULL >> 7; }
};

struct Pair {
  int64_t count = 0;
  std::vector<uint32_t> words;  // where it occurs, or once did
};

// A pair as the queue knew it; its count may have changed since.
struct Candidate {
  int64_t count;
  Key key;
  friend bool operator<(const Candidate& a, const Candidate& b) {
    return a.count != b.count ? a.count < b.count : a.key > b.key;
  }
};

class Learner {
 public:
  Learner(std::vector<CountedWord> words, int64_t smallest_count)
      : words_(std::move(words)), smallest_count_(smallest_count) {
    for (uint32_t i = 0; i < words_.size(); ++i) {
      const std::vector<int32_t>& symbols = words_[i].symbols;
      for (size_t at = 0; at + 1 < symbols.size(); ++at) change(symbols[at], symbols[at + 1], words_[i].count, i);
    }
    queue_changed();
  }

  std::vector<std::pair<int32_t, int32_t>> run(int64_t wanted, int32_t first_new) {
    std::vector<std::pair<int32_t, int32_t>> merges;
    while (static_cast<int64_t>(merges.size()) < wanted && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const auto found = pairs_.find(best.key);
      if (found == pairs_.end() || found->second.count != best.count) continue;  // a newer entry speaks for it
      const auto left = static_cast<int32_t>(best.key >> 32), right = static_cast<int32_t>(best.key);
      const std::vector<uint32_t> where = std::move(found->second.words);
      pairs_.erase(found);
      const int32_t fresh = first_new + static_cast<int32_t>(merges.size());
      for (const uint32_t word : where) merge_in(word, left, right, fresh);
      pairs_.erase(best.key);  // merge_in counted it down once more
      queue_changed();
      merges.emplace_back(left, right);
    }
    return merges;
  }

 private:
  void change(int32_t left, int32_t right, int64_t by, uint32_t word) {
    const Key key = key_of(left, right);
    Pair& pair = pairs_[key];
    pair.count += by;
    if (by > 0 && (pair.words.empty() || pair.words.back() != word)) pair.words.push_back(word);
    changed_.push_back(key);
  }

  void merge_in(uint32_t index, int32_t left, int32_t right, int32_t fresh) {
    std::vector<int32_t>& symbols = words_[index].symbols;
    const int64_t count = words_[index].count;
    const auto is_pair = [left, right](int32_t a, int32_t b) { return a == left && b == right; };
    if (std::adjacent_find(symbols.begin(), symbols.end(), is_pair) == symbols.end()) return;  // merged away since
    // Pairs of two symbols that stay are left alone: they keep their counts, and their lists stay short.
    merged_.clear();
    bool was_merged = false;
    for (size_t at = 0; at < symbols.size(); ++at) {
      const bool both = at + 1 < symbols.size() && symbols[at] == left && symbols[at + 1] == right;
      if (at > 0 && (was_merged || both)) change(symbols[at - 1], symbols[at], -count, index);
      if (both) change(left, right, -count, index);
      merged_.push_back(both ? fresh : symbols[at]);
      at += both;
      was_merged = both;
    }
    for (size_t at = 0; at + 1 < merged_.size(); ++at) {
      if (merged_[at] == fresh || merged_[at + 1] == fresh) change(merged_[at], merged_[at + 1], count, index);
    }
    std::swap(symbols, merged_);
  }

  void queue_changed() {
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Key key : changed_) {
      const auto found = pairs_.find(key);
      if (found != pairs_.end() && found->second.count >= smallest_count_) queue_.push({found->second.count, key});
    }
    changed_.clear();
  }

  std::vector<CountedWord> words_;
  int64_t smallest_count_;
  std::unordered_map<Key, Pair, KeyHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Key> changed_;
  std::vector<int32_t> merged_;
};

}  // namespace

std::vector<std::pair<int32_t, int32_t>> learn_merges(std::vector<CountedWord> words, int64_t wanted, int32_t first_new,
                                                      int64_t smallest_count) {
  return Learner(std::move(words), std::max<int64_t>(smallest_count, 1)).run(wanted, first_new);
}

}  // namespace introspect::text
