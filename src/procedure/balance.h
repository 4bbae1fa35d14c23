// From all measured patches to a balanced set: whether the output changed must not be told by anything but the vector
// and the text, so changed and unchanged are equally many in every cell of (token type, block, relation), split by
// split.
#pragma once

#include "dataset/example.h"

#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

struct PatchOutcome {
  Split split = Split::train;
  int32_t type = 0, block = 0, relation = 0;  // type and relation: indices into the names
  bool changed = false;
};

struct BalanceSettings {
  int64_t min_per_cell = 1;    // of each outcome; a cell with fewer is dropped and reported
  int64_t max_per_cell = 400;  // of both outcomes together; 0: no limit
  double max_share = 0.5;      // of a split that one (token type, block) may be
};

struct BalanceNames {
  std::vector<std::string> types, relations;
};

struct Balanced {
  std::vector<size_t> kept;  // indices into the outcomes, ascending
  // Json: thin cells by split, token type and block, with the names of their relations; sizes before and after; where
  // max_share could not be reached.
  Json report;
};

// Deterministic. Throws Error if nothing is left, with counts. max_share: with fewer (token type, block) groups than
// 1 / max_share no cut can reach it; then nothing is cut and the report says so.
Balanced balance(const std::vector<PatchOutcome>& outcomes, const BalanceNames& names, const BalanceSettings& settings,
                 uint64_t seed);

// How often a patch changed the output before balancing: a list of {token_type, block, patches, changed, share}.
Json change_map(const std::vector<PatchOutcome>& outcomes, const BalanceNames& names);

}  // namespace introspect
