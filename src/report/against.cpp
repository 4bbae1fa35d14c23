#include "report/against.h"

#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

std::string Against::words(const std::string& name) const {
  if (verdict == Verdict::unknown) return "";
  return fmt::format("{} points {} than {} ({})", percent(std::abs(difference)), difference < 0 ? "less" : "more", name,
                     range);
}

Against against(const ScoreTable& table, const std::string& metric, const std::string& explainer,
                const std::string& condition) {
  const Score* other = table.find(explainer, condition, metric);
  if (!other || !std::isfinite(other->difference_to_self) || !std::isfinite(other->p_against_self)) return {};
  Against result;
  result.difference = -other->difference_to_self;
  const bool found = other->p_against_self < kSignificance;
  result.verdict = !found ? Verdict::not_shown : result.difference > 0 ? Verdict::better : Verdict::worse;
  const std::string range = signed_interval(-other->difference_high, -other->difference_low);
  result.range = (range.empty() ? "" : range + ", ") + p_value(other->p_against_self);
  return result;
}

std::string percent_with_interval(const Score& score) {
  const std::string range = interval(score.low, score.high);
  return percent(score.value) + "%" + (range.empty() ? "" : " (95% interval " + range + ")");
}

}  // namespace introspect
