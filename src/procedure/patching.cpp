#include "procedure/patching.h"

#include "base/distributed.h"
#include "base/error.h"
#include "procedure/saved_chunks.h"
#include "procedure/saved_sweep.h"
#include "procedure/wording.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Numbers names in the order in which they are first seen.
class NameList {
 public:
  int32_t index(const std::string& name) {
    const auto [found, added] = numbers_.try_emplace(name, static_cast<int32_t>(names_.size()));
    if (added) names_.push_back(name);
    return found->second;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::map<std::string, int32_t> numbers_;
  std::vector<std::string> names_;
};

// Where an outcome came from.
struct Origin {
  size_t prompt, block, cell;
};

struct Measured {
  std::vector<PatchOutcome> outcomes;
  std::vector<Origin> origins;
  BalanceNames names;
};

// Tokens as the answers name them: two tokens with one text are one answer.
class TokenTexts {
 public:
  explicit TokenTexts(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  const std::string& of(int64_t id) {
    const auto [found, added] = texts_.try_emplace(id);
    if (added) found->second = token_text(tokenizer_, id);
    return found->second;
  }

 private:
  const Tokenizer& tokenizer_;
  std::map<int64_t, std::string> texts_;
};

Measured collect(const std::vector<PatchPrompt>& prompts, const std::vector<SweepResult>& results, TokenTexts& texts) {
  Measured measured;
  NameList types, relations;
  for (size_t p = 0; p < prompts.size(); ++p) {
    const PatchPrompt& prompt = prompts[p];
    for (size_t b = 0; b < results[p].after.size(); ++b) {
      for (size_t i = 0; i < prompt.cells.positions.size(); ++i) {
        PatchOutcome outcome;
        outcome.split = prompt.pair.split;
        outcome.type = types.index(prompt.tokens.types[static_cast<size_t>(prompt.cells.positions[i])]);
        outcome.block = static_cast<int32_t>(b);
        outcome.relation = relations.index(prompt.pair.relation);
        outcome.changed = texts.of(results[p].after[b][i]) != texts.of(results[p].before);
        measured.outcomes.push_back(outcome);
        measured.origins.push_back({p, b, i});
      }
    }
  }
  measured.names = {types.names(), relations.names()};
  return measured;
}

Example make_example(const PatchPrompt& prompt, const SweepResult& result, const Origin& origin,
                     const LayerBlock& layers, TokenTexts& texts) {
  Example example;
  const auto position = static_cast<size_t>(prompt.cells.positions[origin.cell]);
  example.split = prompt.pair.split;
  example.cluster = fmt::format("prompt-{:06}", origin.prompt);
  for (int64_t layer = layers.first; layer <= layers.last; ++layer) example.layers.push_back(layer);
  example.input = prompt.prompt.text;
  example.token = prompt.tokens.texts[position];
  example.before = texts.of(result.before);
  example.after = texts.of(result.after[origin.block][origin.cell]);
  example.answer = answer_sentence(example.changed(), example.after);
  const std::string& type = prompt.tokens.types[position];
  example.attributes = {{"token_type", type},
                        {"block", std::to_string(origin.block)},
                        {"relation", prompt.pair.relation},
                        {"position", std::to_string(position)},
                        {"source_position", std::to_string(prompt.cells.sources[origin.cell])},
                        {"subject", prompt.pair.fact.subject},
                        {"counterfactual_subject", prompt.pair.counterfactual.subject},
                        {"object", prompt.pair.fact.object},
                        {"counterfactual_object", prompt.pair.counterfactual.object},
                        {"template", prompt.pair.template_text},
                        {"cell", fmt::format("{}/{}/{}", type, origin.block, prompt.pair.relation)}};
  return example;
}

// The vectors of the kept examples, by running x' of their chunks once more: that costs one pass in some two hundred
// and saves keeping every cell's vector. Whole chunks run, as in the sweep, so these are the very numbers it put in.
at::Tensor vectors_of(const Model& model, const std::vector<SweepPrompt>& prompts, const PatchingSettings& settings,
                      const std::vector<Origin>& kept) {
  at::Tensor vectors = at::empty({std::ssize(kept), model.config.d_model}, at::kFloat);
  std::map<size_t, std::vector<size_t>> by_chunk;  // chunk to places in `kept`
  const auto size = static_cast<size_t>(settings.prompts_per_chunk);
  for (size_t i = 0; i < kept.size(); ++i) by_chunk[kept[i].prompt / size].push_back(i);
  std::vector<std::function<void()>> work;
  for (const auto& of_one : by_chunk) {
    work.emplace_back([&] {
      const size_t begin = of_one.first * size;
      const auto of_chunk =
          counterfactual_vectors(model, slice(prompts, begin, std::min(prompts.size(), begin + size)), settings.sweep);
      for (const size_t i : of_one.second) {
        const at::Tensor& of_block = of_chunk[kept[i].prompt - begin][kept[i].block];
        vectors.select(0, static_cast<int64_t>(i)).copy_(of_block.select(0, static_cast<int64_t>(kept[i].cell)));
      }
    });
  }
  run_chunks(model, work);
  return vectors;
}

// How often the target answers its prompts rightly: overall and by relation.
Json accuracy(const std::vector<PatchPrompt>& prompts, const std::vector<SweepResult>& results) {
  std::map<std::string, std::pair<int64_t, int64_t>> by_relation;
  int64_t correct = 0;
  for (size_t p = 0; p < prompts.size(); ++p) {
    auto& [of_relation, right] = by_relation[prompts[p].pair.relation];
    ++of_relation;
    right += results[p].correct;
    correct += results[p].correct;
  }
  Json relations = Json::object();
  for (const auto& [name, count] : by_relation) relations[name] = {{"prompts", count.first}, {"correct", count.second}};
  return {{"prompts", prompts.size()},
          {"correct", correct},
          {"share", static_cast<double>(correct) / static_cast<double>(prompts.size())},
          {"relations", relations}};
}

Json blocks_json(const std::vector<LayerBlock>& blocks) {
  Json list = Json::array();
  for (const LayerBlock& block : blocks) {
    Json layers = Json::array();
    for (int64_t layer = block.first; layer <= block.last; ++layer) layers.push_back(layer);
    list.push_back(layers);
  }
  return list;
}

}  // namespace

Dataset make_patching_dataset(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                              const PatchingSettings& settings, const fs::path& work_folder) {
  const std::vector<LayerBlock> blocks = layer_blocks(model.config.layers, settings.sweep.blocks);
  DropReport dropped;
  const std::vector<PatchPrompt> prompts = make_patch_prompts(model, tokenizer, facts, settings, dropped);
  std::vector<SweepPrompt> sweeps;
  for (const PatchPrompt& prompt : prompts) sweeps.push_back(sweep_prompt_of(prompt));
  const Json table = patching_settings_to_json(settings);
  const std::vector<SweepResult> results =
      sweep_and_save(model, sweeps, settings.sweep, settings.prompts_per_chunk, table.dump(), work_folder / "sweep");

  TokenTexts texts(tokenizer);
  const Measured measured = collect(prompts, results, texts);
  for (size_t p = 0; p < prompts.size(); ++p) {
    if (!results[p].swept) {
      dropped.add("target answers the prompt wrongly",
                  fmt::format("{}: {}", prompts[p].pair.relation, prompts[p].pair.fact.subject));
    }
  }
  if (measured.outcomes.empty()) {
    fail("patching", fmt::format("got no prompt that the target answers rightly, of {}", prompts.size()),
         "teach the target these facts in option format, or set only_correct to false");
  }
  Balanced balanced;
  if (settings.balanced) {
    balanced = balance(measured.outcomes, measured.names, settings.balance, settings.seed);
  } else {
    balanced.kept.resize(measured.outcomes.size());
    std::iota(balanced.kept.begin(), balanced.kept.end(), size_t{0});
  }
  std::stable_sort(balanced.kept.begin(), balanced.kept.end(),
                   [&](size_t a, size_t b) { return measured.outcomes[a].split < measured.outcomes[b].split; });

  Dataset dataset;
  dataset.task = "patching";
  std::vector<Origin> kept;
  std::map<Split, int64_t> counts = {{Split::train, 0}, {Split::validation, 0}, {Split::test, 0}};
  for (const size_t index : balanced.kept) {
    const Origin& origin = measured.origins[index];
    Example example = make_example(prompts[origin.prompt], results[origin.prompt], origin, blocks[origin.block], texts);
    example.id = fmt::format("patching-{:06}", kept.size());
    example.vector = std::ssize(kept);
    ++counts[example.split];
    dataset.examples.push_back(std::move(example));
    kept.push_back(origin);
  }
  if (first_process()) dataset.vectors = vectors_of(model, sweeps, settings, kept);  // it alone writes the data set
  Json examples = Json::object();
  for (const auto& [split, count] : counts) examples[split_name(split)] = count;
  dataset.info = {{"task", "patching"},
                  {"target_fingerprint", model_fingerprint(model)},
                  {"d_model", model.config.d_model},
                  {"settings", table},
                  {"blocks", blocks_json(blocks)},
                  {"patches", measured.outcomes.size()},
                  {"examples", examples},
                  {"target_accuracy", accuracy(prompts, results)},
                  {"dropped", dropped.to_json()},
                  {"balance", balanced.report},
                  {"change_map", change_map(measured.outcomes, measured.names)}};
  return dataset;
}

}  // namespace introspect
