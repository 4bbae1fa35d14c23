// Reading a description of the library; for library.cpp only.
#pragma once

#include "feature/library.h"

namespace introspect {

// Empty for anything that is no description.
std::optional<Predicate> parse_description(std::string_view text, const WordSets& sets,
                                           const std::unordered_map<std::string, int32_t>& token_of_piece);

}  // namespace introspect
