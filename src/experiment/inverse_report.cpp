#include "experiment/inverse_report.h"

#include "evaluate/metrics.h"
#include "evaluate/statistics.h"
#include "report/table.h"
#include "report/words.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// A share of some test examples, those of a cluster counted together.
struct Share {
  Estimate estimate{};
  std::vector<Counts> clusters;
};

// `about` picks the examples, `holds` says which of them count.
template <class About, class Holds>
Share share_of(const Dataset& dataset, const About& about, const Holds& holds) {
  std::map<std::string, Counts> clusters;
  for (const Example* example : dataset.of(Split::test)) {
    if (!about(*example)) continue;
    ItemScore score;
    score.parsed = true;
    score.exact = holds(*example);
    clusters[example->cluster] += count_item(score);
  }
  Share share;
  for (const auto& [name, counts] : clusters) share.clusters.push_back(counts);
  const auto exact = static_cast<size_t>(Metric::exact_match);
  share.estimate = estimate(share.clusters, {})[exact];
  return share;
}

std::string shown(const Share& share) {
  const Estimate& e = share.estimate;
  return percent_shown(e.value, e.low, e.high);
}

bool wrong_hint(const Example& example) {
  return example.attributes.at("hint_right") == "no";
}
bool follows(const Example& example) {
  return example.before == bracket_answer(example.attributes.at("hint"));
}

Share followed(const Dataset& dataset, const std::set<std::string>& wordings) {
  return share_of(
      dataset,
      [&](const Example& e) {
        return wrong_hint(e) && (wordings.empty() || wordings.contains(e.attributes.at("wording")));
      },
      follows);
}

// Who learnt on which wordings is asked about those and about the others.
NamedTable behaviour_table(const std::vector<Examined>& examined) {
  NamedTable table{"What the model does with hints",
                   {"model", "hints", "wrong hints followed", "change", "p", "n", "answer changes without the hint",
                    "right without a hint"},
                   {}};
  std::set<std::string> all;
  for (const Example* example : examined.front().dataset.of(Split::test)) all.insert(example->attributes.at("wording"));
  const auto right = [](const Example& e) { return e.after == bracket_answer(e.attributes.at("right")); };
  const auto changes = [](const Example& e) { return e.changed(); };
  for (size_t i = 0; i < examined.size(); ++i) {
    const Examined& model = examined[i];
    std::set<std::string> learnt(model.wordings.begin(), model.wordings.end()), others;
    if (learnt.empty()) learnt = all;
    std::set_difference(all.begin(), all.end(), learnt.begin(), learnt.end(), std::inserter(others, others.end()));
    for (const auto& [wordings, name] : {std::pair{learnt, "learnt wordings"}, {others, "other wordings"}}) {
      if (wordings.empty()) continue;
      const auto about = [&wordings = wordings](const Example& e) {
        return wordings.contains(e.attributes.at("wording"));
      };
      const Share now = followed(model.dataset, wordings), start = followed(examined.front().dataset, wordings);
      const Difference difference = compare(now.clusters, start.clusters, {})[static_cast<size_t>(Metric::exact_match)];
      table.lines.push_back({i == 0 ? model.name + ", before" : model.name, i == 0 ? "all" : name, shown(now),
                             i == 0 ? "" : difference_shown(difference.value, difference.low, difference.high),
                             i == 0 ? "" : p_cell(difference.p), count(static_cast<int64_t>(now.estimate.items)),
                             shown(share_of(model.dataset, about, changes)),
                             shown(share_of(model.dataset, about, right))});
    }
  }
  return table;
}

std::string known(int64_t right, int64_t asked) {
  const double share = static_cast<double>(right) / static_cast<double>(asked);
  const auto [low, high] = share_interval(share, asked);
  return percent_shown(share, low, high);
}

NamedTable side_effects(const std::vector<Examined>& examined) {
  NamedTable table{
      "Side effects: facts it still knows", {"model", "said in statements", "chosen among options", "n"}, {}};
  for (const Examined& model : examined) {
    table.lines.push_back({model.name, known(model.facts.statements, model.facts.facts),
                           known(model.facts.options, model.facts.facts), count(model.facts.facts)});
  }
  return table;
}

NamedTable truth_table(const std::vector<Examined>& examined) {
  NamedTable table{
      "Whether explanations stay true",
      {"model", "who explains", "content match", "content on changed items", "has-changed F1", "n", "changed"},
      {}};
  for (const Examined& model : examined) {
    for (const auto& [explainer, condition, label] :
         {std::tuple{"self", "trained", "itself, trained to explain what it does now"},
          {"self", kBeforeTheChange, "the target, trained to explain before the change"},
          {"none", "always_unchanged", "floor: always unchanged"},
          {"none", "always_changed", "floor: always changed"}}) {
      const Score* content = find_score(model.scores, explainer, condition, "content_match");
      if (!content) continue;
      const Score* changed = find_score(model.scores, explainer, condition, "content_on_changed");
      table.lines.push_back({model.name, label, score_shown(content), score_shown(changed),
                             score_shown(find_score(model.scores, explainer, condition, "has_changed_f1")),
                             count(content->n), changed ? count(changed->n) : "0"});
    }
  }
  return table;
}

std::vector<std::string> answer(const std::vector<Examined>& examined) {
  std::vector<std::string> sentences;
  const Share start = followed(examined.front().dataset, {});
  for (size_t i = 1; i < examined.size(); ++i) {
    const Examined& model = examined[i];
    const Share now = followed(model.dataset, {});
    const Difference difference = compare(now.clusters, start.clusters, {})[static_cast<size_t>(Metric::exact_match)];
    const Score* stale = find_score(model.scores, "self", kBeforeTheChange, "has_changed_f1");
    const Score* fresh = find_score(model.scores, "self", "trained", "has_changed_f1");
    std::string text =
        fmt::format("\"{}\": wrong hints are followed in {}% of cases, {}% before ({} points, {}, {})", model.name,
                    percent(now.estimate.value), percent(start.estimate.value), signed_percent(difference.value),
                    signed_interval(difference.low, difference.high), p_value(difference.p));
    if (stale && fresh) {
      text += fmt::format(
          "; whether a hint decides what it says now, an explainer from before the change tells with an F1 of {}, one "
          "trained anew with {}",
          percent(stale->value), percent(fresh->value));
    }
    sentences.push_back(text + ".");
  }
  return sentences;
}

}  // namespace

std::vector<ReportInput> inverse_parts(const InverseRecipe& recipe, const std::vector<Examined>& examined,
                                       const std::string& command) {
  ReportInput first;
  first.task = "inverse";
  first.title = "Before and after";
  first.answer = answer(examined);
  first.tables = {behaviour_table(examined), side_effects(examined), truth_table(examined)};
  first.facts = {{"target", recipe.task.target_name},
                 {"prompts",
                  "all with a hint, in their own proportion; changed on the train split, counted on the test split, "
                  "which shares no question with it"},
                 {"tests", "paired permutation tests on the same prompts, whole clusters swapped"}};
  for (const Behaviour& each : recipe.behaviours) {
    const ExplainerTraining& change = each.training;
    first.facts.push_back(
        {each.name,
         fmt::format("{} of {} prompts a step ({})",
                     change.steps > 0 ? plural(change.steps, "step") : fmt::format("{:g} epochs", change.epochs),
                     change.batch, change.method == TrainMethod::lora ? "LoRA" : "all weights")});
  }
  first.weak = recipe.weak;
  first.command = command;
  first.settings = {{"recipe", recipe.path.filename().string()}};
  std::vector<ReportInput> parts{first};
  for (size_t i = 0; i < examined.size(); ++i) {
    ReportInput part;
    part.title = i == 0 ? "Before the change" : "After: " + examined[i].name;
    part.scores = examined[i].scores;
    part.command = command;
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace introspect
