// introspect describe model, describe import: descriptions of features that others make.
#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/run_record.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "feature/context_store.h"
#include "feature/language_descriptions.h"
#include "feature/language_simulator.h"
#include "feature/neuronpedia.h"
#include "sae/saved_sae.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::string target, contexts, out, sae, simulator;
  std::vector<int64_t> layers;
  int64_t per_layer = 0, promoted = 10;
  uint64_t seed = 0;
  LanguageDescriptionSettings settings;
  ChatOptions chat;
  bool json = false, overwrite = false;
};

Json settings_of(const Options& options) {
  const LanguageDescriptionSettings& settings = options.settings;
  return {{"chat", chat_settings(options.chat)},
          {"exemplars", settings.exemplars},
          {"candidates", settings.candidates},
          {"temperature", settings.temperature},
          {"mark_above", settings.mark_above},
          {"max_tokens", settings.max_tokens},
          {"layers", options.layers},
          {"per_layer", options.per_layer},
          {"promoted", options.sae.empty() ? 0 : options.promoted},
          {"seed", options.seed}};
}

// Latents that fire, by layer, then latent; of each layer `per_layer` drawn at random.
std::vector<std::pair<int64_t, int64_t>> features_of(const ContextStore& store, const Options& options) {
  std::vector<std::pair<int64_t, int64_t>> features;
  for (const int64_t layer : store.layers()) {
    const bool wanted = std::find(options.layers.begin(), options.layers.end(), layer) != options.layers.end();
    if (!options.layers.empty() && !wanted) continue;
    const at::Tensor maximum = store.maximum(layer);
    std::vector<int64_t> latents;
    for (int64_t latent = 0; latent < store.latents(layer); ++latent) {
      if (maximum[latent].item<double>() > 0) latents.push_back(latent);
    }
    if (options.per_layer > 0 && std::ssize(latents) > options.per_layer) {
      Random random(options.seed, fmt::format("features of layer {}", layer));
      random.shuffle(latents);
      latents.resize(static_cast<size_t>(options.per_layer));
      std::sort(latents.begin(), latents.end());
    }
    for (const int64_t latent : latents) features.emplace_back(layer, latent);
  }
  if (features.empty()) fail("describe", fmt::format("no feature fires in these layers ({})", options.contexts));
  return features;
}

// What each feature makes likelier; nothing without a SAE.
std::function<std::vector<std::string>(int64_t, int64_t)> promoted_by(const Options& options,
                                                                      const Tokenizer& tokenizer) {
  if (options.sae.empty()) return [](int64_t, int64_t) { return std::vector<std::string>(); };
  const auto model = std::make_shared<const Model>(load_model(options.target));
  const auto directions = std::make_shared<std::map<int64_t, at::Tensor>>();
  for (const Sae& sae : load_saes(options.sae)) {
    for (const std::string& doubt : check_sae(sae, model->config, options.target)) say("warning: " + doubt);
    if (!directions->emplace(sae.place.layer, sae.decoder).second) {
      fail("describe", fmt::format("two SAEs of layer {} ({})", sae.place.layer, options.sae));
    }
  }
  return [model, directions, tokenizer, count = options.promoted](int64_t layer, int64_t latent) {
    const auto found = directions->find(layer);
    if (found == directions->end() || latent >= found->second.size(0)) {
      fail("describe", fmt::format("no SAE has latent {} of layer {}", latent, layer));
    }
    return promoted_tokens(*model, tokenizer, found->second[latent], count);
  };
}

void choose(std::vector<DescribedFeature>& features, const ContextStore& store, const Options& options) {
  LanguageSimulator simulator = LanguageSimulator::open(options.simulator);
  simulator.set_target(Tokenizer::open(options.target));
  Progress progress("simulate", std::ssize(features), "features");
  for (DescribedFeature& feature : features) {
    check_interrupt("describe");
    choose_description(feature, store.contexts(feature.layer, feature.latent), simulator);
    progress.advance();
  }
  progress.finish();
}

void describe_by_model(const Options& options) {
  asks_chat_model(options.chat);
  const ContextStore store = ContextStore::open(options.contexts);
  const Tokenizer tokenizer = Tokenizer::open(options.target);
  const fs::path out = options.out;
  const auto promoted = promoted_by(options, tokenizer);
  LanguageDescriptionTask task;
  task.features = features_of(store, options);
  task.questions = [&](int64_t layer, int64_t latent) {
    return description_questions(store.contexts(layer, latent), promoted(layer, latent), tokenizer, options.settings);
  };
  std::vector<RunInput> inputs = {{"contexts", options.contexts},
                                  {"tokenizer", fs::path(options.target) / "tokenizer.json"}};
  if (!options.sae.empty()) inputs.push_back({"sae", options.sae});
  if (!options.simulator.empty()) inputs.push_back({"simulator", options.simulator});
  RunRecord record(out, "describe model", settings_of(options), inputs, options.overwrite);
  if (record.state() != StepState::complete) {
    const std::unique_ptr<CachedChatModel> model = open_chat_model(options.chat, out / "replies.jsonl");
    const std::string estimate = estimate_text(estimate_descriptions(*model, task), prices_of(options.chat));
    if (options.chat.estimate) {
      std::printf("%s\n", estimate.c_str());
      return;
    }
    say(estimate);
    LanguageDescriptionReport report;
    std::vector<DescribedFeature> features = describe_with_model(*model, task, report);
    std::erase_if(features, [](const DescribedFeature& feature) { return feature.descriptions.empty(); });
    say(tally_text(model->tally(), prices_of(options.chat)));
    if (!options.simulator.empty()) choose(features, store, options);
    save_descriptions(features, out / "descriptions.jsonl");
    record.add("summary", {{"features", report.features},
                           {"described", features.size()},
                           {"silent", report.silent},
                           {"undescribed", report.undescribed},
                           {"questions", report.questions},
                           {"refused", report.refused},
                           {"unparsable", report.unparsable},
                           {"duplicates", report.duplicates},
                           {"prompt_tokens", model->tally().prompt_tokens},
                           {"reply_tokens", model->tally().reply_tokens}});
    if (features.empty()) {
      fail("describe",
           fmt::format("no feature got a description: of {} replies {} could not be read, {} were refused",
                       report.questions, report.unparsable, report.refused),
           "the model may be too small for the task; replies.jsonl shows what it said");
    }
    record.complete();
  }
  const Json summary = record.result("summary");
  if (options.json) {
    std::printf("%s\n", summary.dump(2).c_str());
    return;
  }
  const auto count = [&](const char* key) { return static_cast<long long>(summary.at(key).get<int64_t>()); };
  std::printf("%lld of %lld features described; %lld silent, %lld without a readable description\n", count("described"),
              count("features"), count("silent"), count("undescribed"));
  std::printf("%lld questions: %lld unparsable, %lld refused, %lld candidates twice\n", count("questions"),
              count("unparsable"), count("refused"), count("duplicates"));
  std::printf("%s\n", (out / "descriptions.jsonl").c_str());
}

struct ImportOptions {
  std::string file, out, sae;
  NeuronpediaSettings settings;
  bool json = false, overwrite = false;
};

void import_descriptions(const ImportOptions& options) {
  NeuronpediaSettings settings = options.settings;
  if (!options.sae.empty()) settings.latents = load_sae(options.sae).latents();
  RunRecord record(options.out, "describe import",
                   {{"model_id", settings.model_id}, {"source", settings.source}, {"latents", settings.latents}},
                   {{"export", options.file}}, options.overwrite);
  const fs::path out = options.out;
  if (record.state() != StepState::complete) {
    NeuronpediaReport report;
    const std::vector<DescribedFeature> features = import_neuronpedia(options.file, settings, report);
    const Json counts{{"files", report.files},
                      {"lines", report.lines},
                      {"features", features.size()},
                      {"descriptions", report.kept},
                      {"empty", report.empty},
                      {"duplicates", report.duplicates},
                      {"outside", report.outside},
                      {"other_models", report.other_models},
                      {"explanation_models", report.explanation_models}};
    if (features.empty()) {
      fail("describe", fmt::format("nothing to import: {} ({})", counts.dump(), options.file),
           "do --model-id, --source and the SAE fit the export?");
    }
    save_descriptions(features, out / "descriptions.jsonl");
    record.add("summary", counts);
    record.complete();
  }
  const Json summary = record.result("summary");
  if (options.json) {
    std::printf("%s\n", summary.dump(2).c_str());
    return;
  }
  const auto count = [&](const char* key) { return static_cast<long long>(summary.at(key).get<int64_t>()); };
  std::printf("%lld descriptions of %lld features from %lld lines\n", count("descriptions"), count("features"),
              count("lines"));
  std::printf(
      "left out: %lld empty, %lld duplicates, %lld of latents outside the SAE, %lld of other models or sources\n",
      count("empty"), count("duplicates"), count("outside"), count("other_models"));
  std::printf("%s\n", (out / "descriptions.jsonl").c_str());
}

}  // namespace

void add_describe_model(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("model", "Descriptions by a chat model that is shown what makes features fire");
  LanguageDescriptionSettings& settings = options->settings;
  command->add_option("MODEL", options->target, "the target's folder: its tokenizer is read")->required();
  command->add_option("--contexts", options->contexts, "a context store of the target's features")->required();
  command->add_option("--out", options->out, "folder for descriptions.jsonl and the replies")->required();
  command->add_option("--layers", options->layers, "only these layers")->delimiter(',');
  command->add_option("--per-layer", options->per_layer, "so many features of each layer, at random; 0: all that fire")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--exemplars", settings.exemplars, "pieces of text that are shown")->capture_default_str();
  command->add_option("--candidates", settings.candidates, "descriptions asked for of each feature")
      ->capture_default_str();
  command->add_option("--temperature", settings.temperature, "of all candidates but the first")->capture_default_str();
  command->add_option("--max-tokens", settings.max_tokens, "of a reply")->capture_default_str();
  command->add_option("--sae", options->sae, "show what each feature makes likelier too: folder of its SAEs");
  command->add_option("--promoted", options->promoted, "with --sae: so many tokens")->capture_default_str();
  command->add_option("--simulator", options->simulator,
                      "choose the candidate whose simulated activations fit best: folder of a simulator");
  command->add_option("--seed", options->seed, "of --per-layer")->capture_default_str();
  add_chat_options(*command, options->chat);
  command->add_flag("--json", options->json, "print the summary as JSON");
  command->add_flag("--overwrite", options->overwrite, "replace work of other settings");
  command->footer(
      "Replies are kept in OUT/replies.jsonl: a command that was stopped goes on where it was and asks nothing twice.\n"
      "Example: introspect describe model models/tiny-llama --contexts runs/contexts --per-layer 50\n"
      "  --endpoint http://localhost:8000/v1 --chat-name Qwen/Qwen3-8B --out runs/described");
  command->callback([options] { describe_by_model(*options); });
}

void add_describe_import(CLI::App& group) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* command = group.add_subcommand("import", "Descriptions from a Neuronpedia export of explanations");
  command->add_option("FILE", options->file, "a .jsonl, .jsonl.gz, or a folder of such batches")->required();
  command->add_option("--out", options->out, "folder for descriptions.jsonl")->required();
  command->add_option("--model-id", options->settings.model_id, "only lines of this modelId");
  command->add_option("--source", options->settings.source, "only lines of this source: 19-llamascope-res-131k");
  auto* latents =
      command->add_option("--latents", options->settings.latents, "latents of the SAE; others are left out");
  command->add_option("--sae", options->sae, "the SAE's folder instead of --latents")->excludes(latents);
  command->add_flag("--json", options->json, "print the counts as JSON");
  command->add_flag("--overwrite", options->overwrite, "replace work of other settings");
  command->footer("Example: introspect describe import batch-0.jsonl.gz --out runs/described");
  command->callback([options] { import_descriptions(*options); });
}

}  // namespace introspect
