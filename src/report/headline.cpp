#include "report/headline.h"

#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

// The control at test time that comes nearest to self: another vector in place of the true one.
struct Control {
  Against against;
  std::string words;
};
Control weakest_at_test(const ScoreTable& table) {
  Control nearest;
  double highest = -1;
  for (const auto& [condition, name] :
       {std::pair{"zero_vector", "itself given a zero vector"}, std::pair{"random_vector", "itself given a random one"},
        std::pair{"shuffled_vector", "itself given another item's vector"},
        std::pair{"shuffled_in_cell", "itself given another vector of the cell"}}) {
    const Score* score = table.find("self", condition, table.headline_metric());
    const Against this_one = against(table, table.headline_metric(), "self", condition);
    if (this_one.verdict == Verdict::unknown || !score || score->value <= highest) continue;
    highest = score->value;
    nearest = {this_one, this_one.words(name)};
  }
  return nearest;
}

std::string what_is_measured(const ScoreTable& table, const Score& self) {
  const std::string target = table.subject().target.empty() ? "the target" : table.subject().target;
  const std::string value = percent_with_interval(self);
  if (table.words().task == Task::features && table.headline_metric() == "exact_match") {
    return fmt::format(
        "Of {} that it was not trained on, {}, trained to describe its own features, says the true description word "
        "for "
        "word in {} of cases.",
        plural(self.n, "feature"), target, value);
  }
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
           "facts, not from reading activations.";
  }
  return "The effect that was looked for is not there: in this run the model does not explain its own activations "
         "better than the controls.";
}

// The best of the rows that know nothing of the vector.
std::string best_floor(const ScoreTable& table) {
  std::vector<RowName> floors;
  for (const RowName& row : table.rows()) {
    if (row.kind == RowKind::floor) floors.push_back(row);
  }
  const RowName* best = best_row(table, floors, table.headline_metric());
  if (!best) return "";
  return fmt::format("The best floor ({}) reaches {}%.", best->label,
                     percent(table.find(*best, table.headline_metric())->value));
}

// What the descriptions of features are worth when they are simulated, beside the true ones.
std::string simulated_words(const ScoreTable& table) {
  const Score* self = table.find("self", "trained", "simulator_score");
  if (table.words().task != Task::features || !self) return "";
  std::string words =
      fmt::format("Simulated, what it says correlates with what the features do at {}", percent_with_interval(*self));
  const Score* gold = table.find("none", "gold", "simulator_score");
  if (gold) words += fmt::format("; the true descriptions at {}%", percent(gold->value));
  return words + ".";
}

}  // namespace

std::string wanted_words(const Gate& gate) {
  const auto bound = [](double share) { return fmt::format("{:g}", std::round(share * 1000) / 10); };
  if (gate.low > 0 && gate.high < 1) return fmt::format("{} to {}%", bound(gate.low), bound(gate.high));
  if (gate.low > 0) return fmt::format("at least {}%", bound(gate.low));
  return gate.high < 1 ? fmt::format("at most {}%", bound(gate.high)) : "";
}

std::vector<std::string> validity_sentences(const ReportInput& input) {
  if (input.valid) return {};
  std::string because = input.invalid_because;
  for (const Gate& gate : input.gates) {
    if (gate.passed || !input.invalid_because.empty()) continue;
    if (!because.empty()) because += "; ";
    because += std::isfinite(gate.value) ? fmt::format("{} is {}%", gate.name, percent(gate.value))
                                         : fmt::format("{} was not measured", gate.name);
    if (const std::string wanted = wanted_words(gate); !wanted.empty()) because += ", wanted " + wanted;
  }
  if (because.empty()) because = "the target did not pass its gate";
  return {fmt::format("This is not a valid test of introspection: {}.", because),
          "The figures are shown for the record; nothing follows from them."};
}

std::vector<std::string> headline_sentences(const ScoreTable& table, const ReportInput& input) {
  if (table.words().task == Task::ablation) return ablation_sentences(table, input);
  const std::string& metric = table.headline_metric();
  const Score* self = table.find("self", "trained", metric);
  if (!self) return {"The model's explanation of itself was not measured in this run."};
  if (self->n == 0) return {"There was no test item to measure this on."};
  const Against twin = against(table, metric, "twin", "trained");
  const Against retrained = against(table, metric, "self", "retrained_without_vector");
  Control without{retrained, retrained.words("itself retrained without the vector")};
  const bool at_test = retrained.verdict == Verdict::unknown;
  if (at_test) without = weakest_at_test(table);

  std::vector<std::string> sentences = {what_is_measured(table, *self)};
  const std::string twin_words = twin.words("its twin");
  if (!twin_words.empty() && !without.words.empty()) {
    sentences.push_back(fmt::format("That is {} and {}.", twin_words, without.words));
  } else if (!twin_words.empty() || !without.words.empty()) {
    sentences.push_back(fmt::format("That is {}.", twin_words.empty() ? without.words : twin_words));
  }
  if (input.valid) sentences.push_back(conclusion(twin.verdict, without.against.verdict, at_test));
  if (const std::string floor = best_floor(table); !floor.empty()) sentences.push_back(floor);
  if (const std::string words = simulated_words(table); !words.empty()) sentences.push_back(words);
  if (self->seeds == 1) {
    sentences.push_back("Each explainer was trained once: the intervals do not hold the luck of training.");
  }
  return sentences;
}

}  // namespace introspect
