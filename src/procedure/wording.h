// The sentences that state the ground truth, to the letter as the paper's explainers say them.
#pragma once

#include <string>

#include <fmt/format.h>

namespace introspect {

inline constexpr char changed_answer[] = "The most likely output would change to <<<{}>>>.";
inline constexpr char unchanged_answer[] = "The output would remain unchanged from <<<{}>>>.";

// `content` is the new output, or the old one where nothing changed.
inline std::string answer_sentence(bool changed, const std::string& content) {
  return changed ? fmt::format(changed_answer, content) : fmt::format(unchanged_answer, content);
}

}  // namespace introspect
