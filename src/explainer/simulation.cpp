#include "explainer/simulation.h"

#include "base/error.h"
#include "base/progress.h"
#include "procedure/ablation.h"

#include <sstream>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

std::string simulation_name(Simulation simulation) {
  return simulation == Simulation::both ? "both" : "hint_differs";
}

Simulation parse_simulation(const std::string& name) {
  for (const Simulation simulation : {Simulation::both, Simulation::hint_differs}) {
    if (simulation_name(simulation) == name) return simulation;
  }
  fail_usage("simulation", fmt::format("got '{}', expected both or hint_differs", name));
}

ChoicePrompts ablation_prompts(const Dataset& dataset, const Tokenizer& tokenizer) {
  if (dataset.task != "ablation") {
    fail("simulation", fmt::format("a data set of the task {}, expected ablation", dataset.task));
  }
  if (!dataset.info.contains("settings")) {
    fail("simulation", "dataset.json has no settings: how the target's prompts were made is not known",
         "imported data sets cannot be simulated; make one with 'introspect dataset ablation'");
  }
  return ChoicePrompts(parse_ablation_settings(dataset.info.at("settings"), "dataset.json: settings").style, tokenizer);
}

LeaveOutPrompt ablation_prompt(const ChoicePrompts& prompts, const Example& example) {
  const std::vector<std::string> options = lines_of(example.attributes.at("options"));
  const auto passage = example.attributes.find("passage");
  const bool alone = passage == example.attributes.end();
  const ChoicePrompt prompt =
      prompts.make(example.attributes.at("question"), options, alone ? example.token : passage->second);
  const TextRange removed =
      alone ? prompt.hint_span
            : sentence_of_passage(prompt, std::stoul(example.attributes.at("removed_at")), example.token.size());
  return {prompt.text, {removed}, prompts.answer_tokens(options).value_or(std::vector<int64_t>())};
}

std::vector<OwnAnswers> own_answers(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                    const std::vector<const Example*>& examples) {
  const ChoicePrompts prompts = ablation_prompts(dataset, tokenizer);
  std::vector<OwnAnswers> answers(examples.size());
  std::vector<LeaveOutPrompt> asked;
  std::vector<size_t> places;  // of what is asked, in answers
  for (size_t i = 0; i < examples.size(); ++i) {
    LeaveOutPrompt prompt = ablation_prompt(prompts, *examples[i]);
    if (prompt.valid.empty()) continue;
    asked.push_back(std::move(prompt));
    places.push_back(i);
  }
  const AblationSettings settings = parse_ablation_settings(dataset.info.at("settings"), "dataset.json: settings");
  const std::vector<LeaveOutResult> results = leave_out(model, tokenizer, asked, settings.run);
  for (size_t i = 0; i < results.size(); ++i) {
    const std::vector<std::string> choices = lines_of(examples[places[i]]->attributes.at("choices"));
    answers[places[i]] = {true, choices.at(static_cast<size_t>(results[i].whole.choice)),
                          choices.at(static_cast<size_t>(results[i].without[0].choice))};
  }
  return answers;
}

Example with_own_answers(const Example& example, const OwnAnswers& own) {
  Example moved = example;
  if (!own.asked) return moved;
  moved.before = own.before;
  moved.after = own.after;
  moved.answer = answer_words(moved.changed(), moved.after);
  return moved;
}

std::vector<Answer> simulate_ablation(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                      Simulation simulation, Split split, int64_t limit) {
  std::vector<const Example*> examples = dataset.of(split);
  if (limit > 0 && std::ssize(examples) > limit) examples.resize(limit);
  check_interrupt("simulation");
  const std::vector<OwnAnswers> own = own_answers(model, tokenizer, dataset, examples);
  std::vector<Answer> answers;
  for (size_t i = 0; i < examples.size(); ++i) {
    answers.push_back({examples[i]->id, ""});
    if (!own[i].asked) continue;
    const std::string before =
        simulation == Simulation::both ? own[i].before : bracket_answer(examples[i]->attributes.at("hint"));
    answers.back().text = answer_words(before != own[i].after, own[i].after);
  }
  return answers;
}

}  // namespace introspect
