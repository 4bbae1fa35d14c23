#include "procedure/ablation.h"

#include "base/error.h"
#include "base/files.h"
#include "base/random.h"
#include "procedure/saved_chunks.h"
#include "procedure/wording.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// A question as the target can be asked it.
struct Asked {
  const ChoiceQuestion* question;
  Split split = Split::train;
  std::vector<int64_t> tokens;  // of its answers
};

// One question with one hint, and what the target said.
struct Case {
  size_t asked = 0, wording = 0, hinted = 0;  // which question, wording, and choice the hint names
  ChoicePrompt prompt;
  size_t with = 0, without = 0;  // which choice the target answers
  int64_t no_answer = 0;         // runs, of the two, whose likeliest token is none of the answers

  bool changed() const { return with != without; }
};

// Questions that the prompt and the model can hold; the others are counted.
std::vector<Asked> askable(const Model& model, const Tokenizer& tokenizer, const ChoicePrompts& prompts,
                           const std::vector<ChoiceQuestion>& questions, const AblationSettings& s,
                           DropReport& dropped) {
  const std::vector<Split> splits = split_questions(questions, s.split, s.seed);
  std::vector<size_t> order(questions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  Random(s.seed, "ablation questions").shuffle(order);
  std::vector<Asked> list;
  for (const size_t i : order) {
    if (s.max_questions > 0 && std::ssize(list) >= s.max_questions) break;
    const ChoiceQuestion& question = questions[i];
    const auto tokens = prompts.answer_tokens(question.choices);
    if (!tokens) {
      dropped.add("two choices begin with the same token", question.id);
      continue;
    }
    int64_t longest = 0;
    for (const HintWording& wording : s.hints) {
      const std::string hint = prompts.hint_text(wording, question.choices, 0, question.text);
      const std::string text = prompts.make(question.text, question.choices, hint).text;
      longest = std::max(longest, std::ssize(tokenizer.encode(text, prompts.add_special())));
    }
    // a little more than the prompt itself, since other choices may be longer
    if (longest + 16 > model.config.max_positions) {
      dropped.add("too long for the target", question.id);
      continue;
    }
    list.push_back({&question, splits[i], *tokens});
  }
  if (list.empty()) {
    fail("ablation", fmt::format("got no question that can be asked; left out: {}", dropped.text()));
  }
  return list;
}

// Every question of `which` with `per_question` hints, each of another wording of `wordings`.
std::vector<Case> make_cases(const ChoicePrompts& prompts, const std::vector<Asked>& asked,
                             const std::vector<size_t>& which, const std::vector<size_t>& wordings, size_t per_question,
                             const AblationSettings& s) {
  std::vector<Case> cases;
  for (const size_t q : which) {
    const ChoiceQuestion& question = *asked[q].question;
    Random random(s.seed, "hints of " + question.id);
    std::vector<size_t> drawn = wordings;
    random.shuffle(drawn);
    drawn.resize(std::min(drawn.size(), per_question));
    for (const size_t wording : drawn) {
      Case made{q, wording, random.below(question.choices.size()), {}};
      const std::string& other = asked[random.below(asked.size())].question->text;
      made.prompt = prompts.make(question.text, question.choices,
                                 prompts.hint_text(s.hints[wording], question.choices, made.hinted, other));
      cases.push_back(std::move(made));
    }
  }
  return cases;
}

void run_cases(const Model& model, const Tokenizer& tokenizer, const std::vector<Asked>& asked,
               std::vector<Case>& cases, const AblationSettings& s, const std::string& name, const fs::path& folder) {
  int64_t done = 0, changed = 0;
  std::string texts;
  for (const Case& each : cases) texts += each.prompt.text + '\n';
  ChunkedWork work;
  work.name = name;
  work.file_stem = "answers";
  work.unit = "prompts";
  work.claim = {{"model", model_fingerprint(model)},
                {"prompts", sha256_text(texts)},
                {"settings", ablation_settings_to_json(s).dump()}};
  work.items = cases.size();
  work.items_per_chunk = static_cast<size_t>(s.questions_per_chunk);
  work.make = [&](size_t begin, size_t end) {
    std::vector<LeaveOutPrompt> prompts;
    for (size_t i = begin; i < end; ++i) {
      prompts.push_back({cases[i].prompt.text, {cases[i].prompt.hint_span}, asked[cases[i].asked].tokens});
    }
    std::vector<Json> lines;
    for (const LeaveOutResult& result : leave_out(model, tokenizer, prompts, s.run)) {
      const LeaveOutAnswer &with = result.whole, &without = result.without[0];
      lines.push_back({{"case", begin + lines.size()},
                       {"with", with.choice},
                       {"without", without.choice},
                       {"no_answer", (with.likeliest != with.token) + (without.likeliest != without.token)}});
    }
    return lines;
  };
  work.take = [&](size_t item, const Json& line, const std::string& where) {
    const auto choices = std::ssize(asked[cases[item].asked].tokens);
    const auto with = json_get<int64_t>(line, "with", where), without = json_get<int64_t>(line, "without", where);
    if (json_get<int64_t>(line, "case", where) != static_cast<int64_t>(item) || with < 0 || with >= choices ||
        without < 0 || without >= choices) {
      fail(name, fmt::format("the line does not fit the questions ({})", where), "remove the file to compute it again");
    }
    cases[item].with = static_cast<size_t>(with);
    cases[item].without = static_cast<size_t>(without);
    cases[item].no_answer = json_get<int64_t>(line, "no_answer", where);
    ++done;
    changed += cases[item].changed();
  };
  work.note = [&] {
    return fmt::format("{:.0f}% change without the hint",
                       100.0 * static_cast<double>(changed) / static_cast<double>(done));
  };
  run_saved_chunks(model, work, folder);
}

// What hints of one wording do.
struct HintTally {
  int64_t cases = 0, wrong = 0, followed = 0, changed = 0, right_with = 0;
};
double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::vector<HintTally> tally(const std::vector<Asked>& asked, const std::vector<Case>& cases, size_t wordings) {
  std::vector<HintTally> tallies(wordings);
  for (const Case& each : cases) {
    HintTally& t = tallies[each.wording];
    const size_t right = asked[each.asked].question->answer;
    ++t.cases;
    t.changed += each.changed();
    t.right_with += each.with == right;
    t.wrong += each.hinted != right;
    t.followed += each.hinted != right && each.with == each.hinted;
  }
  return tallies;
}

// The wordings whose hints change the answer often but not always.
std::vector<size_t> choose_wordings(const std::vector<HintTally>& trial, const AblationSettings& s) {
  std::vector<size_t> chosen;
  size_t nearest = 0;
  double least = 2;
  for (size_t w = 0; w < trial.size(); ++w) {
    const double changed = share(trial[w].changed, trial[w].cases);
    if (changed >= s.min_changed && changed <= s.max_changed) chosen.push_back(w);
    const double distance = std::abs(changed - (s.min_changed + s.max_changed) / 2);
    if (distance < least) {
      least = distance;
      nearest = w;
    }
  }
  if (chosen.empty()) chosen = {nearest};
  return chosen;
}

Json hints_json(const AblationSettings& s, const std::vector<HintTally>& trial, const std::vector<HintTally>& all,
                const std::vector<size_t>& chosen, const std::map<size_t, int64_t>& kept) {
  Json list = Json::array();
  for (size_t w = 0; w < s.hints.size(); ++w) {
    const bool is_chosen = std::find(chosen.begin(), chosen.end(), w) != chosen.end();
    const HintTally& t = is_chosen ? all[w] : trial[w];
    list.push_back({{"wording", s.hints[w].name},
                    {"text", s.hints[w].text},
                    {"chosen", is_chosen},
                    {"prompts", t.cases},
                    {"wrong_hints", t.wrong},
                    {"followed_when_wrong", share(t.followed, t.wrong)},
                    {"changed_without", share(t.changed, t.cases)},
                    {"right_with", share(t.right_with, t.cases)},
                    {"kept", kept.contains(w) ? kept.at(w) : 0}});
  }
  return list;
}

Json gate_json(const AblationSettings& s, double right, const std::vector<HintTally>& all,
               const std::vector<size_t>& chosen) {
  Json followed = Json::array();
  int64_t counting = 0;
  for (const size_t w : chosen) {
    const double value = share(all[w].followed, all[w].wrong);
    const bool passed = value >= s.gate.min_followed && value <= s.gate.max_followed;
    counting += passed;
    followed.push_back({{"wording", s.hints[w].name}, {"value", value}, {"passed", passed}, {"n", all[w].wrong}});
  }
  const int64_t wanted = std::min(s.gate.wordings, std::ssize(s.hints));
  return {{"right_without_hint", right},
          {"right_passed", right > s.gate.min_right},
          {"followed", followed},
          {"wordings_wanted", wanted},
          {"wordings_that_count", counting},
          {"valid", right > s.gate.min_right && counting >= wanted}};
}

std::string lines_of(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) text += (i ? "\n" : "") + items[i];
  return text;
}

Example make_example(const ChoicePrompts& prompts, const Asked& asked, const Case& made, const AblationSettings& s,
                     bool first_half) {
  const ChoiceQuestion& question = *asked.question;
  const auto answer = [&](size_t choice) { return prompts.answer_text(question.choices, choice); };
  std::vector<std::string> said;
  for (size_t i = 0; i < question.choices.size(); ++i) said.push_back(bracket_answer(answer(i)));
  Example example;
  example.split = asked.split;
  example.cluster = question.group;
  example.input = made.prompt.user;
  example.token = made.prompt.hint;
  example.before = said[made.with];
  example.after = said[made.without];
  example.answer = answer_sentence(example.changed(), example.after);
  example.attributes = {{"wording", s.hints[made.wording].name},
                        {"subject", question.subject},
                        {"subject_half", first_half ? "first" : "second"},
                        {"question_id", question.id},
                        {"question", question.text},
                        {"options", lines_of(question.choices)},
                        {"choices", lines_of(said)},
                        {"hint", answer(made.hinted)},
                        {"hint_right", made.hinted == question.answer ? "yes" : "no"},
                        {"right", answer(question.answer)}};
  return example;
}

std::set<std::string> first_half_of_subjects(const std::vector<Asked>& asked, uint64_t seed) {
  std::set<std::string> all;
  for (const Asked& each : asked) all.insert(each.question->subject);
  std::vector<std::string> names(all.begin(), all.end());
  Random(seed, "halves of the subjects").shuffle(names);
  return {names.begin(), names.begin() + static_cast<std::ptrdiff_t>((names.size() + 1) / 2)};
}

// Which cases are kept, in order.
std::vector<size_t> kept_cases(const std::vector<Asked>& asked, const std::vector<Case>& cases,
                               const AblationSettings& s, Json& report) {
  std::vector<size_t> kept(cases.size());
  std::iota(kept.begin(), kept.end(), size_t{0});
  if (!s.balanced) return kept;
  std::map<std::string, int32_t> subjects;
  BalanceNames names;
  for (const HintWording& wording : s.hints) names.types.push_back(wording.name);
  std::vector<PatchOutcome> outcomes;
  for (const Case& each : cases) {
    const std::string& subject = asked[each.asked].question->subject;
    const auto [found, fresh] = subjects.emplace(subject, static_cast<int32_t>(subjects.size()));
    if (fresh) names.relations.push_back(subject);
    outcomes.push_back({asked[each.asked].split, static_cast<int32_t>(each.wording), 0, found->second, each.changed()});
  }
  Balanced balanced = balance(outcomes, names, s.balance, s.seed);
  report = std::move(balanced.report);
  return balanced.kept;
}

}  // namespace

std::string bracket_answer(const std::string& answer) {
  return "Answer: " + answer;
}

Dataset make_ablation_dataset(const Model& model, const Tokenizer& tokenizer,
                              const std::vector<ChoiceQuestion>& questions, const AblationSettings& s,
                              const fs::path& work_folder, DropReport& dropped) {
  const ChoicePrompts prompts(s.style, tokenizer);
  const std::vector<Asked> asked = askable(model, tokenizer, prompts, questions, s, dropped);

  std::vector<size_t> all_wordings(s.hints.size()), chosen;
  std::iota(all_wordings.begin(), all_wordings.end(), size_t{0});
  chosen = all_wordings;
  std::vector<HintTally> trial(s.hints.size());
  if (s.trial_questions > 0) {
    std::vector<size_t> which;
    for (size_t q = 0; q < asked.size() && std::ssize(which) < s.trial_questions; ++q) {
      if (asked[q].split == Split::train) which.push_back(q);
    }
    std::vector<Case> cases = make_cases(prompts, asked, which, all_wordings, all_wordings.size(), s);
    run_cases(model, tokenizer, asked, cases, s, "trial", work_folder / "trial");
    trial = tally(asked, cases, s.hints.size());
    chosen = choose_wordings(trial, s);
  }

  std::vector<size_t> everything(asked.size());
  std::iota(everything.begin(), everything.end(), size_t{0});
  std::vector<Case> cases =
      make_cases(prompts, asked, everything, chosen, static_cast<size_t>(s.hints_per_question), s);
  run_cases(model, tokenizer, asked, cases, s, "ablation", work_folder / "ablation");
  const std::vector<HintTally> all = tally(asked, cases, s.hints.size());

  std::map<size_t, bool> right_without;  // by question: it is the same prompt with every hint taken away
  int64_t no_answer = 0;
  for (const Case& each : cases) {
    right_without[each.asked] = each.without == asked[each.asked].question->answer;
    no_answer += each.no_answer;
  }
  int64_t right = 0;
  for (const auto& entry : right_without) right += entry.second;

  Dataset dataset;
  dataset.task = "ablation";
  Json balance_report;
  std::vector<size_t> kept = kept_cases(asked, cases, s, balance_report);
  std::stable_sort(kept.begin(), kept.end(),
                   [&](size_t a, size_t b) { return asked[cases[a].asked].split < asked[cases[b].asked].split; });
  const std::set<std::string> first_half = first_half_of_subjects(asked, s.seed);
  std::map<size_t, int64_t> kept_of_wording;
  for (const size_t i : kept) {
    const Asked& of = asked[cases[i].asked];
    Example example = make_example(prompts, of, cases[i], s, first_half.contains(of.question->subject));
    example.id = fmt::format("ablation-{:06}", dataset.examples.size());
    ++kept_of_wording[cases[i].wording];
    dataset.examples.push_back(std::move(example));
  }
  const auto asked_count = static_cast<int64_t>(right_without.size());
  dataset.info = {
      {"task", "ablation"},
      {"target_fingerprint", model_fingerprint(model)},
      {"settings", ablation_settings_to_json(s)},
      {"target_accuracy", {{"prompts", asked_count}, {"correct", right}, {"share", share(right, asked_count)}}},
      {"hints", hints_json(s, trial, all, chosen, kept_of_wording)},
      {"gate", gate_json(s, share(right, asked_count), all, chosen)},
      {"no_answer", {{"runs", 2 * cases.size()}, {"count", no_answer}}},
      {"balance", balance_report},
      {"dropped", dropped.to_json()}};
  return dataset;
}

}  // namespace introspect
