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

std::vector<Answer> simulate_ablation(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset,
                                      Simulation simulation, Split split, int64_t limit) {
  if (dataset.task != "ablation") {
    fail("simulation", fmt::format("a data set of the task {}, expected ablation", dataset.task));
  }
  if (!dataset.info.contains("settings")) {
    fail("simulation", "dataset.json has no settings: how the target's prompts were made is not known",
         "imported data sets cannot be simulated; make one with 'introspect dataset ablation'");
  }
  const AblationSettings settings = parse_ablation_settings(dataset.info.at("settings"), "dataset.json: settings");
  const ChoicePrompts prompts(settings.style, tokenizer);
  std::vector<const Example*> examples = dataset.of(split);
  if (limit > 0 && std::ssize(examples) > limit) examples.resize(limit);

  std::vector<Answer> answers;
  std::vector<LeaveOutPrompt> asked;
  std::vector<size_t> places;  // of what is asked, in answers
  for (const Example* example : examples) {
    answers.push_back({example->id, ""});
    const std::vector<std::string> options = lines_of(example->attributes.at("options"));
    const auto valid = prompts.answer_tokens(options);
    if (!valid) continue;
    const ChoicePrompt prompt = prompts.make(example->attributes.at("question"), options, example->token);
    asked.push_back({prompt.text, {prompt.hint_span}, *valid});
    places.push_back(answers.size() - 1);
  }
  check_interrupt("simulation");
  const std::vector<LeaveOutResult> results = leave_out(model, tokenizer, asked, settings.run);
  for (size_t i = 0; i < results.size(); ++i) {
    const Example& example = *examples[places[i]];
    const std::vector<std::string> choices = lines_of(example.attributes.at("choices"));
    const std::string without = choices[static_cast<size_t>(results[i].without[0].choice)];
    const std::string before = simulation == Simulation::both ? choices[static_cast<size_t>(results[i].whole.choice)]
                                                              : bracket_answer(example.attributes.at("hint"));
    answers[places[i]].text = answer_words(before != without, without);
  }
  return answers;
}

}  // namespace introspect
