#include "evaluate/metrics.h"

#include "base/error.h"
#include "dataset/example.h"

#include <limits>
#include <string_view>

namespace introspect {

namespace {

bool blank(char letter) {
  return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r';
}

// Trimmed, in lower case; other blanks stay as they are.
std::string plain(std::string_view text) {
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  std::string result(text);
  for (char& letter : result) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return result;
}

std::string without_final_dot(std::string_view text) {
  std::string result = plain(text);
  if (result.ends_with('.')) result.pop_back();
  return plain(result);
}

// Counts are means over seeds, so what ought to be 0 may be a rounding error.
double share(double part, double whole) {
  return whole > 1e-9 ? part / whole : std::numeric_limits<double>::quiet_NaN();
}

// F1 of one class: of its own items `right` were found; `alarms` items of the other class were taken for it.
// NaN if the class occurs neither among the truths nor among the answers.
double class_f1(double right, double items, double alarms) {
  return share(2 * right, right + items + alarms);
}

double macro_f1(double right_changed, double wrong_changed, double changed, double right_unchanged,
                double wrong_unchanged, double unchanged) {
  const double first = class_f1(right_changed, changed, wrong_unchanged);
  const double second = class_f1(right_unchanged, unchanged, wrong_changed);
  if (first != first) return second;
  if (second != second) return first;
  return (first + second) / 2;
}

}  // namespace

ItemScore score_item(const Example& example, const std::string& answer) {
  ItemScore score;
  score.true_changed = example.changed();
  score.described = !example.answer.empty();
  score.exact = score.described && without_final_dot(answer) == without_final_dot(example.answer);
  if (const auto parsed = parse_answer(answer)) {
    const std::string content = plain(parsed->content);
    score.parsed = true;
    score.stated_changed = parsed->changed;
    score.content = content == plain(example.after);
    score.derived_changed = content != plain(example.before);
  }
  return score;
}

std::string metric_name(Metric metric) {
  switch (metric) {
    case Metric::content_on_changed:
      return "content_on_changed";
    case Metric::content_on_unchanged:
      return "content_on_unchanged";
    case Metric::content_match:
      return "content_match";
    case Metric::has_changed_f1:
      return "has_changed_f1";
    case Metric::derived_f1:
      return "derived_f1";
    case Metric::exact_match:
      return "exact_match";
    case Metric::judge:
      return "judge";
    case Metric::simulator_score:
      return "simulator_score";
    case Metric::published_simulator_score:
      return "published_simulator_score";
  }
  fail("metrics", "metric_name: not a metric");
}

Counts count_item(const ItemScore& score) {
  using enum Counts::Field;
  Counts counts;
  counts[items] = 1;
  counts[unparsable] = !score.parsed;
  counts[exact] = score.exact;
  counts[described] = score.described;
  counts[judged] = score.described ? score.judged : 0;
  counts[simulated] = score.simulated;
  counts[published] = score.published;
  counts[score.true_changed ? changed : unchanged] = 1;
  if (!score.parsed) return counts;
  counts[score.true_changed ? content_changed : content_unchanged] = score.content;
  if (score.true_changed) {
    counts[score.stated_changed ? stated_right_changed : stated_wrong_changed] = 1;
    counts[score.derived_changed ? derived_right_changed : derived_wrong_changed] = 1;
  } else {
    counts[score.stated_changed ? stated_wrong_unchanged : stated_right_unchanged] = 1;
    counts[score.derived_changed ? derived_wrong_unchanged : derived_right_unchanged] = 1;
  }
  return counts;
}

double metric_value(Metric metric, const Counts& c) {
  using enum Counts::Field;
  switch (metric) {
    case Metric::content_on_changed:
      return share(c[content_changed], c[changed]);
    case Metric::content_on_unchanged:
      return share(c[content_unchanged], c[unchanged]);
    case Metric::content_match:
      return share(c[content_changed] + c[content_unchanged], c[items]);
    case Metric::has_changed_f1:
      return macro_f1(c[stated_right_changed], c[stated_wrong_changed], c[changed], c[stated_right_unchanged],
                      c[stated_wrong_unchanged], c[unchanged]);
    case Metric::derived_f1:
      return macro_f1(c[derived_right_changed], c[derived_wrong_changed], c[changed], c[derived_right_unchanged],
                      c[derived_wrong_unchanged], c[unchanged]);
    case Metric::exact_match:
      return share(c[exact], c[described]);
    case Metric::judge:
      return share(c[judged], c[described]);
    case Metric::simulator_score:
      return share(c[simulated], c[items]);
    case Metric::published_simulator_score:
      return share(c[published], c[items]);
  }
  fail("metrics", "metric_value: not a metric");
}

double metric_items(Metric metric, const Counts& counts) {
  if (metric == Metric::content_on_changed) return counts[Counts::changed];
  if (metric == Metric::content_on_unchanged) return counts[Counts::unchanged];
  if (metric == Metric::exact_match || metric == Metric::judge) return counts[Counts::described];
  return counts[Counts::items];
}

}  // namespace introspect
