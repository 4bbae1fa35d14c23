#include "dataset/label_noise.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::pair<const char*, NoiseKind> kinds[] = {
    {"random", NoiseKind::random}, {"same_category", NoiseKind::same_category}, {"systematic", NoiseKind::systematic}};

// The train labels that may stand in for one another, an entry an example: frequent labels are drawn more often.
using LabelPool = std::vector<const std::string*>;

std::string category_key(const Example& example, const LabelNoise& noise, const std::vector<std::string>& attributes) {
  std::string key;
  if (noise.kind != NoiseKind::same_category) return key;
  for (const std::string& name : attributes) {
    const auto found = example.attributes.find(name);
    key += (found == example.attributes.end() ? "" : found->second) + "\n";
  }
  return key;
}

// A label of the pool that is not `own`; null if there is none.
const std::string* another(const LabelPool& pool, const std::string& own, Random& random) {
  LabelPool others;
  for (const std::string* label : pool) {
    if (*label != own) others.push_back(label);
  }
  return others.empty() ? nullptr : others[random.below(others.size())];
}

}  // namespace

Json noise_to_json(const LabelNoise& noise) {
  Json json{{"share", noise.share}, {"seed", noise.seed}};
  for (const auto& [name, kind] : kinds) {
    if (kind == noise.kind) json["kind"] = name;
  }
  if (!noise.category.empty()) json["category"] = noise.category;
  return json;
}

LabelNoise parse_noise(const Json& table, const std::string& label) {
  if (!table.is_object()) {
    fail_usage("train", fmt::format("label_noise: got {}, expected a table ({})", table.dump(), label),
               "label_noise = { share = 0.4, kind = \"random\" }");
  }
  for (const auto& [key, value] : table.items()) {
    if (key != "share" && key != "kind" && key != "seed" && key != "category") {
      fail_usage("train",
                 fmt::format("unknown key 'label_noise.{}', expected share, kind, seed or category ({})", key, label));
    }
  }
  LabelNoise noise;
  noise.share = json_get<double>(table, "share", label);
  if (!(noise.share >= 0 && noise.share <= 1)) {
    fail_usage("train", fmt::format("label_noise.share: got {}, expected 0 to 1 ({})", noise.share, label));
  }
  const std::string kind = json_get<std::string>(table, "kind", label);
  const auto found =
      std::find_if(std::begin(kinds), std::end(kinds), [&](const auto& each) { return kind == each.first; });
  if (found == std::end(kinds)) {
    fail_usage("train", fmt::format("label_noise.kind: got '{}', expected random, same_category or systematic ({})",
                                    kind, label));
  }
  noise.kind = found->second;
  noise.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  noise.category = json_get_or<std::vector<std::string>>(table, "category", {}, label);
  return noise;
}

std::vector<std::string> category_of(const std::string& task) {
  if (task == "features") return {"kind"};
  if (task == "ablation") return {"wording"};
  return {"token_type", "block", "relation"};
}

std::map<std::string, std::string> systematic_labels(const Dataset& dataset, uint64_t seed) {
  std::set<std::string> distinct;
  for (const Example* example : dataset.of(Split::train)) {
    if (!example->answer.empty()) distinct.insert(example->answer);
  }
  if (distinct.size() < 2) {
    fail("train",
         fmt::format("label noise: the train split has {} different labels, expected at least 2", distinct.size()));
  }
  std::vector<std::string> order(distinct.begin(), distinct.end());
  Random random(seed, "systematic label noise");
  random.shuffle(order);
  std::map<std::string, std::string> mapping;
  for (size_t i = 0; i < order.size(); ++i) mapping[order[i]] = order[(i + 1) % order.size()];
  return mapping;
}

std::vector<NoisyLabel> noisy_labels(const Dataset& dataset, const LabelNoise& noise, Split split, int64_t* without) {
  if (split == Split::test) fail("train", "label noise: the labels of test examples stay true");
  const std::vector<std::string> attributes = noise.category.empty() ? category_of(dataset.task) : noise.category;
  if (noise.kind == NoiseKind::same_category) {
    for (const std::string& name : attributes) {
      const bool known = std::any_of(dataset.examples.begin(), dataset.examples.end(),
                                     [&](const Example& example) { return example.attributes.contains(name); });
      if (!known) fail_usage("train", fmt::format("label_noise.category: no example has the attribute '{}'", name));
    }
  }
  std::unordered_map<std::string, LabelPool> pools;
  std::map<std::string, std::string> mapping;
  if (noise.kind == NoiseKind::systematic) {
    mapping = systematic_labels(dataset, noise.seed);
  } else {
    for (const Example* example : dataset.of(Split::train)) {
      if (!example->answer.empty()) pools[category_key(*example, noise, attributes)].push_back(&example->answer);
    }
  }
  std::vector<const Example*> order;
  for (const Example* example : dataset.of(split)) {
    if (!example->answer.empty()) order.push_back(example);
  }
  Random random(noise.seed, "label noise of " + split_name(split));
  random.shuffle(order);
  const auto wanted = static_cast<size_t>(std::llround(noise.share * static_cast<double>(order.size())));
  std::vector<NoisyLabel> noisy;
  int64_t passed_over = 0;
  for (size_t i = 0; i < wanted; ++i) {
    const Example& example = *order[i];
    const std::string* label = nullptr;
    if (noise.kind == NoiseKind::systematic) {
      const auto found = mapping.find(example.answer);
      if (found != mapping.end()) label = &found->second;
    } else {
      Random own(noise.seed, "label noise for " + example.id);
      label = another(pools[category_key(example, noise, attributes)], example.answer, own);
    }
    if (label) {
      noisy.push_back({&example, *label});
    } else {
      ++passed_over;
    }
  }
  if (without) *without = passed_over;
  return noisy;
}

Dataset with_label_noise(const Dataset& dataset, const LabelNoise& noise) {
  Dataset changed = dataset;
  std::unordered_map<std::string, Example*> by_id;
  for (Example& example : changed.examples) by_id[example.id] = &example;
  for (const Split split : {Split::train, Split::validation}) {
    for (const NoisyLabel& noisy : noisy_labels(dataset, noise, split)) {
      by_id.at(noisy.example->id)->answer = noisy.label;
    }
  }
  return changed;
}

}  // namespace introspect
