// introspect describe: ground-truth descriptions of features.
#include "feature/describe.h"

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "feature/context_store.h"
#include "feature/library.h"
#include "procedure/records.h"
#include "text/wordnet.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct LibraryOptions {
  std::string model, contexts, out, facts, wordnet = WordNet::default_folder;
  std::vector<int64_t> layers;
  DescribeSettings settings;
  int64_t examples = 12;
  bool json = false, overwrite = false;
};

Json settings_of(const LibraryOptions& options) {
  const LibrarySearchSettings& search = options.settings.search;
  return {{"min_score", options.settings.min_score},
          {"least_contexts", options.settings.least_contexts},
          {"margin", search.margin},
          {"compound_margin", search.compound_margin},
          {"least_contexts_of_description", search.least_contexts},
          {"least_words", search.least_words},
          {"most_of_one_word", search.most_of_one_word},
          {"kept", search.kept},
          {"layers", options.layers}};
}

void print_layer(const char* name, const Json& summary) {
  std::printf("%-6s %7lld features, %5lld rare; described %5.1f%%", name,
              static_cast<long long>(summary.at("features").get<int64_t>()),
              static_cast<long long>(summary.at("rare").get<int64_t>()),
              100 * summary.at("share_described").get<double>());
  if (summary.contains("held_out")) {
    std::printf(" (held-out median %.2f):", summary.at("held_out").at("median").get<double>());
    for (const auto& [kind, share] : summary.at("kinds").items()) {
      if (share.get<double>() > 0) std::printf(" %s %.0f%%", kind.c_str(), 100 * share.get<double>());
    }
  }
  std::printf("\n");
}

// Features spread evenly over the list.
void print_examples(const char* title, const std::vector<DescribedFeature>& features, int64_t count) {
  if (features.empty() || count <= 0) return;
  std::printf("\n%s\n", title);
  const auto step = std::max<size_t>(1, features.size() / static_cast<size_t>(count));
  for (size_t i = 0; i < features.size() && count-- > 0; i += step) {
    const DescribedFeature& feature = features[i];
    std::printf("  layer %lld feature %-6lld ", static_cast<long long>(feature.layer),
                static_cast<long long>(feature.latent));
    if (feature.descriptions.empty()) {
      std::printf("nothing fits\n");
    } else {
      const Description& best = feature.descriptions[0];
      std::printf("%.2f  %s (%s)\n", best.held_out, best.text.c_str(), best.kind.c_str());
    }
  }
}

void describe_by_library(const LibraryOptions& options) {
  const ContextStore store = ContextStore::open(options.contexts);
  const fs::path facts = options.facts.empty() ? home_folder() / "facts" : fs::path(options.facts);
  const fs::path tokenizer_file = fs::path(options.model) / "tokenizer.json";
  RunRecord record(options.out, "describe library", settings_of(options),
                   {{"contexts", options.contexts},
                    {"tokenizer", tokenizer_file},
                    {"facts", facts},
                    {"wordnet", fs::path(options.wordnet) / "data.noun"}},
                   options.overwrite);
  const fs::path out = options.out;
  if (record.state() != StepState::complete) {
    const auto library = std::make_shared<const DescriptionLibrary>(Tokenizer::open(options.model),
                                                                    WordNet::open(options.wordnet), read_facts(facts));
    ContextSource source;
    for (const int64_t layer : store.layers()) {
      if (!options.layers.empty() &&
          std::find(options.layers.begin(), options.layers.end(), layer) == options.layers.end()) {
        continue;
      }
      source.latents_of_layers.emplace_back(layer, store.latents(layer));
    }
    if (source.latents_of_layers.empty()) fail_usage("describe", "the store has none of the layers asked for");
    source.contexts = [&](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
    std::unique_ptr<Progress> bar;
    const DescribedFeatures features =
        describe_features(source, library, options.settings, [&](int64_t done, int64_t total) {
          if (!bar) bar = std::make_unique<Progress>("describe", total, "features");
          bar->set(done);
        });
    if (bar) bar->finish();
    save_descriptions(features.described, out / "descriptions.jsonl");
    save_descriptions(features.undescribed, out / "undescribed.jsonl");
    record.add("summary", summarize(features, options.settings.min_score));
    record.complete();
  }
  const Json summary = record.result("summary");
  if (options.json) {
    std::printf("%s\n", summary.dump(2).c_str());
    return;
  }
  for (const auto& [layer, of_layer] : summary.at("layers").items()) print_layer(layer.c_str(), of_layer);
  print_layer("all", summary);
  if (summary.contains("chance")) {
    const Json& chance = summary.at("chance");
    std::printf(
        "chance: of %lld features with activations shuffled within their texts %lld would count as described "
        "(held-out median %.2f)\n",
        static_cast<long long>(chance.at("features").get<int64_t>()),
        static_cast<long long>(chance.at("described").get<int64_t>()),
        chance.at("held_out").at("median").get<double>());
  }
  print_examples("Described (held-out correlation, description, kind):", load_descriptions(out / "descriptions.jsonl"),
                 options.examples);
  print_examples("Not described (the best there was):", load_descriptions(out / "undescribed.jsonl"),
                 options.examples / 2);
}

void add_describe_library(CLI::App& group) {
  auto options = std::make_shared<LibraryOptions>();
  options->settings.workers = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  CLI::App* command =
      group.add_subcommand("library", "Descriptions from a library whose sentences can be simulated exactly; no model");
  DescribeSettings& settings = options->settings;
  command->add_option("MODEL", options->model, "the model's folder: its tokenizer is read")->required();
  command->add_option("--contexts", options->contexts, "a context store of the model's features")->required();
  command->add_option("--out", options->out, "folder for descriptions.jsonl and undescribed.jsonl")->required();
  command->add_option("--layers", options->layers, "only these layers")->delimiter(',');
  command->add_option("--min-score", settings.min_score, "held-out correlation that a description needs")
      ->capture_default_str();
  command->add_option("--margin", settings.search.margin, "scores this near are equal: the simpler kind wins")
      ->capture_default_str();
  command->add_option("--compound-margin", settings.search.compound_margin, "what a compound description must gain")
      ->capture_default_str();
  command->add_option("--least-contexts", settings.least_contexts, "contexts with activation that a feature needs")
      ->capture_default_str();
  command->add_option("--facts", options->facts,
                      "fact table for names of countries and the like (default: the project's)");
  command->add_option("--wordnet", options->wordnet, "folder of WordNet's database")->capture_default_str();
  command->add_option("--workers", settings.workers, "threads; the result is the same for any number")
      ->capture_default_str();
  command->add_option("--examples", options->examples, "features to print")->capture_default_str();
  command->add_flag("--json", options->json, "the summary as JSON");
  command->add_flag("--overwrite", options->overwrite, "replace what other settings made");
  command->footer(
      "Of all descriptions the one whose simulated activations correlate best with the true ones; chosen on\n"
      "contexts with even index, scored on those with odd index.\n"
      "Example: introspect describe library models/tiny-llama --contexts runs/contexts --out runs/descriptions");
  command->callback([options] { describe_by_library(*options); });
}

}  // namespace

void add_describe_commands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("describe", "Ground-truth descriptions of features");
  group->require_subcommand(1);
  add_describe_library(*group);
  add_describe_model(*group);
  add_describe_import(*group);
  add_describe_score(*group);
}

}  // namespace introspect
