#include "procedure/fact_check.h"

#include "base/progress.h"
#include "base/random.h"
#include "model/forward.h"
#include "procedure/clean_runs.h"
#include "procedure/options.h"
#include "procedure/render.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

struct Probe {
  std::vector<int64_t> tokens;  // prompt and answer
  int64_t answer = 0;           // how many of them are the answer
};

Probe make_probe(const Tokenizer& tokenizer, const std::string& prompt, const std::string& object) {
  Probe probe;
  probe.tokens = tokenizer.encode(prompt);
  const std::vector<int64_t> answer = tokenizer.encode_plain(option_answer(object));
  probe.answer = std::ssize(answer);
  probe.tokens.insert(probe.tokens.end(), answer.begin(), answer.end());
  return probe;
}

// For each probe: whether every answer token is the argmax behind the ones before it.
std::vector<bool> said_rightly(const Model& model, const std::vector<Probe>& probes) {
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> rows;
  int64_t start = 0;
  for (const Probe& probe : probes) {
    sequences.push_back(probe.tokens);
    const int64_t length = std::ssize(probe.tokens);
    for (int64_t i = length - probe.answer; i < length; ++i) rows.push_back(start + i - 1);
    start += length;
  }
  ForwardOptions options;
  options.logits_at = at::tensor(rows, at::kLong);
  const std::vector<int64_t> best = argmax_rows(forward(model, pack(sequences), options).logits);
  auto said = best.begin();
  std::vector<bool> right;
  for (const Probe& probe : probes) {
    right.push_back(std::equal(probe.tokens.end() - probe.answer, probe.tokens.end(), said));
    said += probe.answer;
  }
  return right;
}

}  // namespace

std::map<std::string, FactAccuracy> check_facts(const Model& model, const Tokenizer& tokenizer, const FactTable& table,
                                                uint64_t seed, int64_t limit,
                                                const std::function<void(int64_t, int64_t)>& report) {
  c10::NoGradGuard guard;
  Random random(seed, "fact check");
  std::vector<std::pair<const Relation*, const Fact*>> facts;
  for (const Relation& relation : table.relations) {
    for (const Fact& fact : relation.facts) facts.emplace_back(&relation, &fact);
  }
  random.shuffle(facts);
  if (limit > 0 && std::ssize(facts) > limit) facts.resize(limit);

  std::map<std::string, FactAccuracy> accuracy;
  constexpr size_t group = 32;
  for (size_t first = 0; first < facts.size(); first += group) {
    check_interrupt("fact check");
    const size_t last = std::min(first + group, facts.size());
    std::vector<Probe> probes;  // a statement and an option prompt of each fact
    for (size_t i = first; i < last; ++i) {
      const auto& [relation, fact] = facts[i];
      const size_t index = random.below(relation->templates.size());
      const std::string statement = statement_text(relation->templates[index], fact->subject);
      const std::vector<std::string> options = choose_options(*relation, *fact, nullptr, 5, random);
      probes.push_back(make_probe(tokenizer, statement, fact->object));
      probes.push_back(make_probe(tokenizer, option_prompt(*relation, *fact, index, options).prompt, fact->object));
    }
    const std::vector<bool> right = said_rightly(model, probes);
    for (size_t i = first; i < last; ++i) {
      for (const std::string& name : {std::string(), facts[i].first->name}) {
        FactAccuracy& each = accuracy[name];
        ++each.facts;
        each.statements_right += right[2 * (i - first)];
        each.options_right += right[2 * (i - first) + 1];
      }
    }
    if (report) report(static_cast<int64_t>(last), std::ssize(facts));
  }
  return accuracy;
}

}  // namespace introspect
