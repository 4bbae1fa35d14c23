#include "report/headline.h"

#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

enum class Verdict { unknown, better, worse, not_shown };

// Self against another row, from that row's score (which holds the row minus self).
struct Against {
  Verdict verdict = Verdict::unknown;
  std::string words;
};

Against against(const ScoreTable& table, const std::string& explainer, const std::string& condition,
                const std::string& name) {
  const Score* other = table.find(explainer, condition, table.headline_metric());
  if (!other || !std::isfinite(other->difference_to_self) || !std::isfinite(other->p_against_self)) return {};
  const double difference = -other->difference_to_self;
  const bool found = other->p_against_self < kSignificance;
  const std::string range = signed_interval(-other->difference_high, -other->difference_low);
  Against result;
  result.verdict = !found ? Verdict::not_shown : difference > 0 ? Verdict::better : Verdict::worse;
  result.words =
      fmt::format("{} points {} than {} ({}{})", percent(std::abs(difference)), difference < 0 ? "less" : "more", name,
                  range.empty() ? "" : range + ", ", p_value(other->p_against_self));
  return result;
}

// The control at test time that comes nearest to self: another vector in place of the true one.
Against weakest_at_test(const ScoreTable& table) {
  Against nearest;
  double highest = -1;
  for (const auto& [condition, name] :
       {std::pair{"zero_vector", "itself given a zero vector"}, std::pair{"random_vector", "itself given a random one"},
        std::pair{"shuffled_vector", "itself given another item's vector"},
        std::pair{"shuffled_in_cell", "itself given another vector of the cell"}}) {
    const Score* score = table.find("self", condition, table.headline_metric());
    const Against this_one = against(table, "self", condition, name);
    if (this_one.verdict == Verdict::unknown || !score || score->value <= highest) continue;
    highest = score->value;
    nearest = this_one;
  }
  return nearest;
}

std::string what_is_measured(const ScoreTable& table, const Score& self) {
  const std::string target = table.subject().target.empty() ? "the target" : table.subject().target;
  const std::string range = interval(self.low, self.high);
  const std::string value = percent(self.value) + "%" + (range.empty() ? "" : " (95% interval " + range + ")");
  if (table.headline_metric() == "content_on_changed") {
    return fmt::format(
        "On the {} whose answer the intervention changes, {}, trained to explain itself, names the new "
        "answer in {} of cases.",
        plural(self.n, "test item"), target, value);
  }
  return fmt::format("On {}, {}, trained to explain itself, reaches {} on {}.", plural(self.n, "test item"), target,
                     value, metric_label(table.headline_metric()));
}

// `without`: against itself retrained without the vector, or where that was not run (`at_test`) against itself asked
// with other vectors.
std::string conclusion(Verdict twin, Verdict without, bool at_test) {
  if (twin == Verdict::unknown && without == Verdict::unknown) {
    return "Neither a twin nor a control without the vector was run, so nothing says whether this is introspection.";
  }
  if (twin == Verdict::better && without == Verdict::better && at_test) {
    return "So it explains its own activations better than its twin does, and uses the vector it is given; how far it "
           "would come when trained without the vector was not tested.";
  }
  if (twin == Verdict::better && without == Verdict::better) {
    return "So it reads its own activations, and explains them better than its twin does.";
  }
  if (twin == Verdict::better && without == Verdict::unknown) {
    return "So it explains its own activations better than its twin does; whether it needs the vector was not tested.";
  }
  if (twin == Verdict::unknown && without == Verdict::better) {
    return "So it reads the vector; whether another model would read it as well was not tested.";
  }
  if (without == Verdict::better) {
    return twin == Verdict::worse ? "So it reads the vector, but its twin explains it better than it does itself."
                                  : "So it reads the vector, but not measurably better than its twin does.";
  }
  if (twin == Verdict::better) {
    return "It beats its twin, but is not shown to need the vector: the advantage may come from knowing the same "
           "facts, "
           "not from reading activations.";
  }
  return "The effect that was looked for is not there: in this run the model does not explain its own activations "
         "better "
         "than the controls.";
}

// The best of the rows that know nothing of the vector.
std::string best_floor(const ScoreTable& table) {
  const Score* best = nullptr;
  std::string label;
  for (const RowName& row : table.rows()) {
    const Score* score = row.kind == RowKind::floor ? table.find(row, table.headline_metric()) : nullptr;
    if (!score || !std::isfinite(score->value) || (best && best->value >= score->value)) continue;
    best = score;
    label = row.label;
  }
  return best ? fmt::format("The best floor ({}) reaches {}%.", label, percent(best->value)) : "";
}

}  // namespace

std::vector<std::string> headline_sentences(const ScoreTable& table) {
  const Score* self = table.find("self", "trained", table.headline_metric());
  if (!self) return {"The model's explanation of itself was not measured in this run."};
  if (self->n == 0) return {"There was no test item to measure this on."};
  const Against twin = against(table, "twin", "trained", "its twin");
  Against without = against(table, "self", "retrained_without_vector", "itself retrained without the vector");
  const bool at_test = without.verdict == Verdict::unknown;
  if (at_test) without = weakest_at_test(table);

  std::vector<std::string> sentences = {what_is_measured(table, *self)};
  if (!twin.words.empty() && !without.words.empty()) {
    sentences.push_back(fmt::format("That is {} and {}.", twin.words, without.words));
  } else if (!twin.words.empty() || !without.words.empty()) {
    sentences.push_back(fmt::format("That is {}.", twin.words.empty() ? without.words : twin.words));
  }
  sentences.push_back(conclusion(twin.verdict, without.verdict, at_test));
  if (const std::string floor = best_floor(table); !floor.empty()) sentences.push_back(floor);
  if (self->seeds == 1) {
    sentences.push_back("Each explainer was trained once: the intervals do not hold the luck of training.");
  }
  return sentences;
}

}  // namespace introspect
