// What only input ablation has in its report: the gate, what hints do, and generalisation.
#include "experiment/task_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::vector<Gate> gates_of(const Recipe& recipe, const Json& gate) {
  const AblationGate& wanted = recipe.ablation.gate;
  std::vector<Gate> gates{{"right without a hint", gate.at("right_without_hint").get<double>(), wanted.min_right, 1,
                           gate.at("right_passed").get<bool>(), 0}};
  for (const Json& each : gate.at("followed")) {
    gates.push_back({"wrong hints followed: " + each.at("wording").get<std::string>(), each.at("value").get<double>(),
                     wanted.min_followed, wanted.max_followed, each.at("passed").get<bool>(),
                     each.at("n").get<int64_t>()});
  }
  return gates;
}

std::string why_invalid(const Json& gate) {
  std::vector<std::string> reasons;
  if (!gate.at("right_passed").get<bool>()) {
    reasons.push_back(fmt::format("the target answers only {:.1f}% of the questions rightly without a hint",
                                  100 * gate.at("right_without_hint").get<double>()));
  }
  const auto counting = gate.at("wordings_that_count").get<int64_t>(),
             wanted = gate.at("wordings_wanted").get<int64_t>();
  if (counting < wanted) {
    reasons.push_back(fmt::format("hints move it neither too seldom nor too often in {} of the {} wordings wanted",
                                  counting, wanted));
  }
  return fmt::format("{}", fmt::join(reasons, ", and "));
}

// The floors that stand beside what generalises: what the words alone tell.
bool is_floor(const Score& score) {
  return score.explainer == "none" && (score.condition == "text_classifier" || score.condition == "always_changed");
}

std::vector<GeneralisationFact> generalisation_of(const Recipe& recipe, const TaskResult& result) {
  std::vector<GeneralisationFact> facts;
  for (const Generalisation& wanted : recipe.generalisation) {
    for (const char* metric : {"content_on_changed", "has_changed_f1"}) {
      for (const Score& score : result.scores) {
        const bool all = score.condition == "trained" && score.explainer == recipe.explainers.front().name;
        const bool floor = is_floor(score);
        if (score.group != wanted.group || score.metric != metric ||
            (score.condition != wanted.condition && !all && !floor)) {
          continue;
        }
        facts.push_back({all     ? "all"
                         : floor ? "floor"
                                 : wanted.trained_on,
                         wanted.tested_on, score.explainer, score.condition, metric, score.value, score.low, score.high,
                         score.n, all});
      }
    }
  }
  return facts;
}

}  // namespace

std::vector<GeneralisationFact> transfer_facts(const Transfer& transfer, const std::vector<Score>& scores) {
  std::vector<GeneralisationFact> facts;
  for (const char* metric : {"content_on_changed", "content_on_unchanged", "has_changed_f1"}) {
    for (const Score& score : scores) {
      const bool same = score.condition == "trained", moved = score.condition == kTransferred;
      if (score.group != "all" || score.metric != metric) continue;
      if (!is_floor(score) && (score.explainer != "self" || (!same && !moved))) continue;
      facts.push_back({same    ? "the same"
                       : moved ? transfer.trained_on
                               : "floor",
                       transfer.tested_on, score.explainer, same ? "trained" : score.condition, metric, score.value,
                       score.low, score.high, score.n, same});
    }
  }
  return facts;
}

void add_ablation_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input) {
  const Dataset& dataset = result.scored;
  const Json& info = dataset.info;
  const Json& no_answer = info.at("no_answer");
  input.gates = gates_of(recipe, info.at("gate"));
  input.valid = info.at("gate").at("valid").get<bool>();
  if (!input.valid) input.invalid_because = why_invalid(info.at("gate"));
  for (const Json& hint : info.at("hints")) {
    input.hints.push_back({hint.at("wording").get<std::string>(), hint.at("text").get<std::string>(),
                           hint.at("prompts").get<int64_t>(), hint.at("followed_when_wrong").get<double>(),
                           hint.at("changed_without").get<double>(), hint.at("right_with").get<double>(),
                           hint.at("kept").get<int64_t>(), hint.value("wrong_hints", int64_t{0})});
  }
  input.generalisation = generalisation_of(recipe, result);
  input.generalisation.insert(input.generalisation.end(), result.transfers.begin(), result.transfers.end());
  input.tables = result.tables;
  input.facts = {
      {"task", "input ablation"},
      {"target", fmt::format("{}; it answers {:.1f}% of {} questions rightly without a hint", recipe.target_name,
                             100 * info.at("target_accuracy").at("share").get<double>(),
                             info.at("target_accuracy").at("prompts").get<int64_t>())},
      {"examples", fmt::format("{} train, {} validation, {} test{}", dataset.of(Split::train).size(),
                               dataset.of(Split::validation).size(), dataset.of(Split::test).size(),
                               recipe.ablation.balanced ? "; half of each (wording, subject) changed" : "")},
      {"likeliest token was none of the answers",
       fmt::format("{} of {} runs", no_answer.at("count").get<int64_t>(), no_answer.at("runs").get<int64_t>())},
      {"split", recipe.ablation.split.by == "subject"
                    ? "by subject: no subject of questions is in two splits"
                    : "by what is asked about: neither a question nor what it asks about is in two splits"}};
}

std::vector<std::string> data_lines(const Recipe& recipe, const Dataset& dataset) {
  std::vector<std::string> lines;
  if (recipe.kind == "features") return feature_lines(dataset);
  if (recipe.kind != "ablation") return lines;
  for (const Json& hint : dataset.info.at("hints")) {
    lines.push_back(fmt::format(
        "{}: wrong hints followed {:.1f}%, {:.1f}% of answers change without it{}",
        hint.at("wording").get<std::string>(), 100 * hint.at("followed_when_wrong").get<double>(),
        100 * hint.at("changed_without").get<double>(), hint.at("chosen").get<bool>() ? "" : " (not used)"));
  }
  const Json& gate = dataset.info.at("gate");
  lines.push_back(gate.at("valid").get<bool>()
                      ? "gate passed: the target knows its answers, and hints move it often but not always"
                      : "gate NOT passed: " + why_invalid(gate));
  return lines;
}

}  // namespace introspect
