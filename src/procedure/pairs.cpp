#include "procedure/pairs.h"

#include "base/error.h"
#include "base/random.h"
#include "procedure/options.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr size_t names_kept = 5;
constexpr std::array<Split, 3> all_splits = {Split::train, Split::validation, Split::test};

void check(const PairSettings& settings) {
  const auto refuse = [](const std::string& message) { fail_usage("pairs", message); };
  if (settings.pairs_per_subject < 1)
    refuse(fmt::format("pairs_per_subject: got {}, expected at least 1", settings.pairs_per_subject));
  if (settings.option_count < 2)
    refuse(fmt::format("option_count: got {}, expected at least 2", settings.option_count));
  if (settings.train_share <= 0 || settings.validation_share < 0 ||
      settings.train_share + settings.validation_share >= 1) {
    refuse(fmt::format("split shares: got {} train and {} validation, expected shares that leave some for test",
                       settings.train_share, settings.validation_share));
  }
}

}  // namespace

void DropReport::add(const std::string& reason, const std::string& name) {
  Entry& entry = entries_[reason];
  ++entry.count;
  if (entry.names.size() < names_kept) entry.names.push_back(name);
}

Json DropReport::to_json() const {
  Json json = Json::object();
  for (const auto& [reason, entry] : entries_) json[reason] = {{"count", entry.count}, {"examples", entry.names}};
  return json;
}

std::string DropReport::text() const {
  std::string text;
  for (const auto& [reason, entry] : entries_) {
    text += fmt::format("{}{} x {} ({})", text.empty() ? "" : ", ", entry.count, reason, entry.names[0]);
  }
  return text.empty() ? "nothing" : text;
}

std::map<std::string, Split> split_subjects(const FactTable& table, const PairSettings& settings, uint64_t seed) {
  check(settings);
  const std::array<double, 3> share = {settings.train_share, settings.validation_share,
                                       1 - settings.train_share - settings.validation_share};
  std::map<std::string, Split> splits;
  for (const Relation& relation : table.relations) {
    std::set<std::string> subjects;
    for (const Fact& fact : relation.facts) subjects.insert(fact.subject);
    std::array<double, 3> missing;  // how many subjects of this relation each split still wants
    for (size_t i = 0; i < 3; ++i) missing[i] = share[i] * static_cast<double>(subjects.size());
    std::vector<std::string> unassigned;
    for (const std::string& subject : subjects) {
      const auto found = splits.find(subject);
      if (found == splits.end()) {
        unassigned.push_back(subject);
      } else {
        missing[static_cast<size_t>(found->second)] -= 1;
      }
    }
    Random random(seed, "pairs/split/" + relation.name);
    random.shuffle(unassigned);
    for (const std::string& subject : unassigned) {
      const auto wanted = std::max_element(missing.begin(), missing.end());
      *wanted -= 1;
      splits[subject] = all_splits[static_cast<size_t>(wanted - missing.begin())];
    }
  }
  return splits;
}

std::vector<FactPair> make_pairs(const FactTable& table, const PairSettings& settings, uint64_t seed,
                                 DropReport& dropped) {
  const std::map<std::string, Split> splits = split_subjects(table, settings, seed);
  std::vector<FactPair> pairs;
  for (const Relation& relation : table.relations) {
    if (relation.objects().size() < 2) {
      dropped.add("relation with one object only", relation.name);
      continue;
    }
    if (settings.template_index >= std::ssize(relation.templates)) {
      dropped.add("relation without the wanted template", relation.name);
      continue;
    }
    std::set<std::pair<std::string, std::string>> true_facts;
    for (const Fact& fact : relation.facts) true_facts.insert({fact.subject, fact.object});

    for (const Fact& fact : relation.facts) {
      Random random(seed, fmt::format("pairs/{}/{}/{}", relation.name, fact.subject, fact.object));
      const Split split = splits.at(fact.subject);
      std::vector<const Fact*> rivals;
      for (const Fact& other : relation.facts) {
        // neither object may be true of both subjects, or there would be two right answers
        if (splits.at(other.subject) == split && other.object != fact.object &&
            !true_facts.contains({fact.subject, other.object}) && !true_facts.contains({other.subject, fact.object})) {
          rivals.push_back(&other);
        }
      }
      if (rivals.empty()) {
        dropped.add("fact without a counterfactual in its split", fmt::format("{}: {}", relation.name, fact.subject));
        continue;
      }
      random.shuffle(rivals);
      for (size_t i = 0; i < rivals.size() && i < static_cast<size_t>(settings.pairs_per_subject); ++i) {
        FactPair pair;
        pair.split = split;
        pair.relation = relation.name;
        const size_t index = settings.template_index >= 0 ? static_cast<size_t>(settings.template_index)
                                                          : random.below(relation.templates.size());
        pair.template_text = relation.templates[index];
        pair.fact = fact;
        pair.counterfactual = *rivals[i];
        pair.options = choose_options(relation, fact, rivals[i], static_cast<size_t>(settings.option_count), random);
        pairs.push_back(std::move(pair));
      }
    }
  }
  if (pairs.empty()) {
    fail("pairs", fmt::format("got no pair of facts, left out: {}", dropped.text()),
         "a relation needs at least two subjects with different objects in each split");
  }
  Random random(seed, "pairs/order");
  random.shuffle(pairs);
  if (settings.max_pairs > 0 && std::ssize(pairs) > settings.max_pairs) {
    for (size_t i = static_cast<size_t>(settings.max_pairs); i < pairs.size(); ++i) {
      dropped.add("pair beyond max_pairs", pairs[i].relation);
    }
    pairs.resize(static_cast<size_t>(settings.max_pairs));
  }
  return pairs;
}

}  // namespace introspect
