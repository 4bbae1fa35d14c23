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

// What is taken away from a prompt: the hint, or a sentence of a passage.
struct Part {
  std::string text;
  TextRange span;      // of the prompt's text
  bool hint = true;    // else a statement
  size_t at = 0;       // where in the passage it begins
  size_t without = 0;  // which choice the target answers then
};

// One question with one hint, and what the target said.
struct Case {
  size_t asked = 0, wording = 0, hinted = 0;  // which question, wording, and choice the hint names
  ChoicePrompt prompt;
  std::vector<Part> parts;
  size_t hint_part = 0;   // which of them is the hint
  size_t with = 0;        // which choice the target answers to the whole prompt
  int64_t no_answer = 0;  // runs whose likeliest token is none of the answers

  size_t without() const { return parts[hint_part].without; }
  bool changed(size_t part) const { return with != parts[part].without; }
};

// An example in the making.
struct Item {
  size_t made = 0, part = 0;  // which case, and which part of it
};

std::string with_mark(std::string text, std::string_view mark, const std::string& value) {
  const size_t at = text.find(mark);
  return at == std::string::npos ? text : text.replace(at, mark.size(), value);
}

// The hint among statements made of other questions.
void add_passage(const ChoicePrompts& prompts, const std::vector<Asked>& asked, const std::string& hint,
                 const AblationSettings& s, Random& random, Case& made) {
  const ChoiceQuestion& question = *asked[made.asked].question;
  std::vector<std::string> sentences = {hint};
  for (int64_t i = 0; i < s.passage.statements; ++i) {
    // of the same split, about something else, and each once
    std::string said;
    for (int tries = 0; tries < 1000 && said.empty(); ++tries) {
      const Asked& other = asked[random.below(asked.size())];
      if (other.split != asked[made.asked].split || other.question->group == question.group) continue;
      const std::string& answer = other.question->choices[other.question->answer];
      said = with_mark(with_mark(s.passage.statement, "{answer}", answer), "{question}", other.question->text);
      if (std::find(sentences.begin(), sentences.end(), said) != sentences.end()) said.clear();
    }
    if (said.empty()) {
      fail("ablation", fmt::format("no statement about something else for the passage of '{}'", question.id),
           "there are too few questions in its split");
    }
    sentences.push_back(said);
  }
  made.hint_part = random.below(sentences.size());
  std::swap(sentences[0], sentences[made.hint_part]);
  std::string passage;
  for (size_t i = 0; i < sentences.size(); ++i) {
    if (i > 0) passage += ' ';
    made.parts.push_back({sentences[i], {}, i == made.hint_part, passage.size(), 0});
    passage += sentences[i];
  }
  made.prompt = prompts.make(question.text, question.choices, passage);
  for (Part& part : made.parts) part.span = sentence_of_passage(made.prompt, part.at, part.text.size());
}

// The most tokens of a statement, of the first questions.
int64_t statement_tokens(const Tokenizer& tokenizer, const std::vector<ChoiceQuestion>& questions,
                         const AblationSettings& s) {
  int64_t most = 0;
  for (size_t i = 0; s.passage.statements > 0 && i < std::min<size_t>(questions.size(), 200); ++i) {
    most = std::max(
        most, std::ssize(tokenizer.encode_plain(" " + questions[i].text + " " +
                                                questions[i].choices[questions[i].answer] + s.passage.statement)));
  }
  return most;
}

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
    longest += s.passage.statements * statement_tokens(tokenizer, questions, s);
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
      Case made{q, wording, random.below(question.choices.size()), {}, {}};
      const std::string& other = asked[random.below(asked.size())].question->text;
      const std::string hint = prompts.hint_text(s.hints[wording], question.choices, made.hinted, other);
      if (s.passage.statements > 0) {
        add_passage(prompts, asked, hint, s, random, made);
      } else {
        made.prompt = prompts.make(question.text, question.choices, hint);
        made.parts = {{hint, made.prompt.hint_span}};
      }
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
      prompts.push_back({cases[i].prompt.text, {}, asked[cases[i].asked].tokens});
      for (const Part& part : cases[i].parts) prompts.back().spans.push_back(part.span);
    }
    std::vector<Json> lines;
    for (const LeaveOutResult& result : leave_out(model, tokenizer, prompts, s.run)) {
      Json without = Json::array();
      int64_t no_answer = result.whole.likeliest != result.whole.token;
      for (const LeaveOutAnswer& each : result.without) {
        without.push_back(each.choice);
        no_answer += each.likeliest != each.token;
      }
      lines.push_back({{"case", begin + lines.size()},
                       {"with", result.whole.choice},
                       {"without", without},
                       {"no_answer", no_answer}});
    }
    return lines;
  };
  work.take = [&](size_t item, const Json& line, const std::string& where) {
    const auto choices = std::ssize(asked[cases[item].asked].tokens);
    const auto with = json_get<int64_t>(line, "with", where);
    const auto without = json_get<std::vector<int64_t>>(line, "without", where);
    const auto is_choice = [&](int64_t value) { return value >= 0 && value < choices; };
    if (json_get<int64_t>(line, "case", where) != static_cast<int64_t>(item) || !is_choice(with) ||
        without.size() != cases[item].parts.size() || !std::all_of(without.begin(), without.end(), is_choice)) {
      fail(name, fmt::format("the line does not fit the questions ({})", where), "remove the file to compute it again");
    }
    cases[item].with = static_cast<size_t>(with);
    for (size_t p = 0; p < without.size(); ++p) cases[item].parts[p].without = static_cast<size_t>(without[p]);
    cases[item].no_answer = json_get<int64_t>(line, "no_answer", where);
    ++done;
    changed += cases[item].changed(cases[item].hint_part);
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
    t.changed += each.changed(each.hint_part);
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

Example make_example(const ChoicePrompts& prompts, const Asked& asked, const Case& made, size_t part_number,
                     const AblationSettings& s, bool first_half) {
  const Part& part = made.parts[part_number];
  const ChoiceQuestion& question = *asked.question;
  const auto answer = [&](size_t choice) { return prompts.answer_text(question.choices, choice); };
  std::vector<std::string> said;
  for (size_t i = 0; i < question.choices.size(); ++i) said.push_back(bracket_answer(answer(i)));
  Example example;
  example.split = asked.split;
  example.cluster = question.group;
  example.input = made.prompt.user;
  example.token = part.text;
  example.before = said[made.with];
  example.after = said[part.without];
  example.answer = answer_sentence(example.changed(), example.after);
  example.attributes = {{"wording", part.hint ? s.hints[made.wording].name : "statement"},
                        {"subject", question.subject},
                        {"subject_half", first_half ? "first" : "second"},
                        {"question_id", question.id},
                        {"question", question.text},
                        {"options", lines_of(question.choices)},
                        {"choices", lines_of(said)},
                        {"hint", answer(made.hinted)},
                        {"hint_right", made.hinted == question.answer ? "yes" : "no"},
                        {"right", answer(question.answer)}};
  if (s.passage.statements > 0) {
    example.attributes["part"] = fmt::format("the sentence \"{}\"", part.text);
    example.attributes["passage"] = made.prompt.hint;
    example.attributes["removed_at"] = std::to_string(part.at);
  }
  return example;
}

std::set<std::string> first_half_of_subjects(const std::vector<Asked>& asked, uint64_t seed) {
  std::set<std::string> all;
  for (const Asked& each : asked) all.insert(each.question->subject);
  std::vector<std::string> names(all.begin(), all.end());
  Random(seed, "halves of the subjects").shuffle(names);
  return {names.begin(), names.begin() + static_cast<std::ptrdiff_t>((names.size() + 1) / 2)};
}

// Which parts of which cases are kept, in order.
std::vector<Item> kept_items(const std::vector<Asked>& asked, const std::vector<Case>& cases, const AblationSettings& s,
                             Json& report) {
  std::vector<Item> items, kept;
  for (size_t i = 0; i < cases.size(); ++i) {
    for (size_t part = 0; part < cases[i].parts.size(); ++part) items.push_back({i, part});
  }
  if (!s.balanced) return items;
  std::map<std::string, int32_t> subjects;
  BalanceNames names;
  for (const HintWording& wording : s.hints) names.types.push_back(wording.name);
  names.types.emplace_back("statement");
  std::vector<PatchOutcome> outcomes;
  for (const Item& item : items) {
    const Case& each = cases[item.made];
    const std::string& subject = asked[each.asked].question->subject;
    const auto [found, fresh] = subjects.emplace(subject, static_cast<int32_t>(subjects.size()));
    if (fresh) names.relations.push_back(subject);
    const size_t type = each.parts[item.part].hint ? each.wording : s.hints.size();
    outcomes.push_back(
        {asked[each.asked].split, static_cast<int32_t>(type), 0, found->second, each.changed(item.part)});
  }
  Balanced balanced = balance(outcomes, names, s.balance, s.seed);
  report = std::move(balanced.report);
  for (const size_t i : balanced.kept) kept.push_back(items[i]);
  return kept;
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
  int64_t no_answer = 0, runs = 0;
  for (const Case& each : cases) {
    right_without[each.asked] = each.without() == asked[each.asked].question->answer;
    no_answer += each.no_answer;
    runs += 1 + std::ssize(each.parts);
  }
  int64_t right = 0;
  for (const auto& entry : right_without) right += entry.second;

  Dataset dataset;
  dataset.task = "ablation";
  Json balance_report;
  std::vector<Item> kept = kept_items(asked, cases, s, balance_report);
  const auto split_of = [&](const Item& item) { return asked[cases[item.made].asked].split; };
  std::stable_sort(kept.begin(), kept.end(), [&](const Item& a, const Item& b) { return split_of(a) < split_of(b); });
  const std::set<std::string> first_half = first_half_of_subjects(asked, s.seed);
  std::map<size_t, int64_t> kept_of_wording;
  for (const auto& [i, part] : kept) {
    const Asked& of = asked[cases[i].asked];
    Example example = make_example(prompts, of, cases[i], part, s, first_half.contains(of.question->subject));
    example.id = fmt::format("ablation-{:06}", dataset.examples.size());
    if (cases[i].parts[part].hint) ++kept_of_wording[cases[i].wording];
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
      {"no_answer", {{"runs", runs}, {"count", no_answer}}},
      {"balance", balance_report},
      {"dropped", dropped.to_json()}};
  return dataset;
}

}  // namespace introspect
