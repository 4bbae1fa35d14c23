// introspect dataset import: published data sets as data sets of ours.
#include "base/error.h"
#include "base/run_record.h"
#include "cli/commands.h"
#include "feature/published_features.h"
#include "procedure/published.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::vector<std::string> paths;
  std::string kind, target, out;
  ImportSettings settings;
  FeatureImportSettings features;
  bool json = false;
};

// A folder with explanations/, or with vectors alone.
void import_feature_folder(const Options& options) {
  if (options.paths.size() != 1) fail_usage("import", "--kind features: give one folder");
  const fs::path folder = options.paths.front();
  FeatureImportSettings settings = options.features;
  settings.limit = options.settings.limit;
  RunRecord record(options.out, "dataset import",
                   {{"kind", "features"},
                    {"target", options.target},
                    {"aside", settings.aside},
                    {"layers", settings.layers},
                    {"limit", settings.limit}},
                   {{"features", folder}});
  if (record.state() != StepState::complete) {
    FeatureImportReport report;
    Dataset dataset = import_features(folder, settings, report);
    dataset.info["target"] = options.target;
    dataset.info["dropped"] = report.dropped.to_json();
    save_dataset(dataset, options.out);
    record.add("summary", {{"rows", report.features},
                           {"examples", dataset.examples.size()},
                           {"not_asked", Json::object()},
                           {"unused_columns", Json::array()},
                           {"dropped", report.dropped.to_json()}});
    record.complete();
  }
}

void import_rows(const Options& options) {
  const std::vector<fs::path> paths(options.paths.begin(), options.paths.end());
  std::vector<RunInput> inputs;
  for (const auto& [split, files] : published_files(paths)) {
    for (size_t i = 0; i < files.size(); ++i) inputs.push_back({fmt::format("{} {}", split, i), files[i]});
  }
  Json settings = import_settings_to_json(options.settings);
  settings["kind"] = options.kind;
  settings["target"] = options.target;
  RunRecord record(options.out, "dataset import", settings, inputs);
  if (record.state() != StepState::complete) {
    ImportReport report;
    Dataset dataset = options.kind == "patching" ? import_patching(paths, options.settings, report)
                                                 : import_ablation(paths, options.settings, report);
    dataset.info["target"] = options.target;
    dataset.info["settings_of_import"] = settings;
    dataset.info["dropped"] = report.dropped.to_json();
    save_dataset(dataset, options.out);
    record.add("summary", {{"rows", report.rows},
                           {"examples", dataset.examples.size()},
                           {"not_asked", report.not_asked},
                           {"unused_columns", report.unused_columns},
                           {"dropped", report.dropped.to_json()},
                           {"test_prompts", report.test_prompts},
                           {"test_prompts_in_train", report.test_prompts_in_train}});
    record.complete();
  }
}

void import(const Options& options) {
  if (options.kind == "features") {
    import_feature_folder(options);
  } else if (options.kind == "patching" || options.kind == "ablation") {
    import_rows(options);
  } else {
    fail_usage("import", fmt::format("--kind: got '{}', expected patching, ablation or features", options.kind));
  }
  const Json summary = read_json(fs::path(options.out) / "run.json").at("results").at("summary");
  if (options.json) {
    std::printf("%s\n", summary.dump(2).c_str());
    return;
  }
  std::printf("rows %s, %lld of them examples now\n", summary.at("rows").dump().c_str(),
              summary.at("examples").get<long long>());
  if (!summary.at("not_asked").empty()) std::printf("passed over: %s\n", summary.at("not_asked").dump().c_str());
  if (!summary.at("unused_columns").empty()) {
    std::printf("columns not read: %s\n", summary.at("unused_columns").dump().c_str());
  }
  for (const auto& [reason, entry] : summary.at("dropped").items()) {
    std::printf("%lld x %s, like %s\n", entry.at("count").get<long long>(), reason.c_str(),
                entry.at("examples").dump().c_str());
  }
  if (summary.contains("test_prompts")) {
    std::printf("%lld of %lld test prompts are in train too\n", summary.at("test_prompts_in_train").get<long long>(),
                summary.at("test_prompts").get<long long>());
  }
  std::printf("%s: %s examples\n", options.out.c_str(), load_dataset(options.out).info.at("counts").dump().c_str());
}

}  // namespace

void add_dataset_import(CLI::App& dataset) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      dataset.add_subcommand("import", "Data sets that others published: Parquet files, archives of features");
  command
      ->add_option("paths", options->paths,
                   "features: one folder; else .parquet files named after their splits, or folders of them")
      ->required();
  command->add_option("--kind", options->kind, "patching, ablation or features")->required();
  command->add_option("--target", options->target, "the name of the model that the data is about, for the record")
      ->required();
  command->add_option("--out", options->out, "folder of the data set")->required();
  command->add_flag("--full", options->settings.full, "the split train_full in place of train");
  command
      ->add_option("--validation-share", options->settings.validation_share,
                   "of the train prompts, where no validation split was published")
      ->capture_default_str();
  command->add_option("--limit", options->settings.limit, "only the first so many rows of each split");
  command->add_option("--layers", options->features.layers, "features: only these layers")->delimiter(',');
  command->add_option("--aside", options->features.aside, "features without labels: what they are, ACT or ΔACT")
      ->capture_default_str();
  command->add_flag("--json", options->json, "the summary as JSON");
  command->footer(
      "No target is run: patching rows carry their vectors, ablation needs none. docs/PUBLISHED.md has the data sets.\n"
      "Example: introspect dataset import act_patch_llama_3.1_8b_counterfact --kind patching --target Llama-3.1-8B\n"
      "--out runs/published-patching");
  command->callback([options] { import(*options); });
}

}  // namespace introspect
