// introspect project: fitted maps from one model's residual stream to another's.
#include "base/error.h"
#include "base/files.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "experiment/recipe.h"
#include "experiment/steps.h"
#include "model/config.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::string target, explainer, recipe, facts, out, method = "least_squares";
  std::vector<std::string> text;
  std::vector<int64_t> layers;
  int64_t tokens = 40000, seed = 1;
  double ridge = 1e-4;
  bool json = false;
};

PairedSettings settings_of(const Options& options) {
  PairedSettings settings;
  if (!options.recipe.empty()) {
    const Recipe recipe = read_recipe(find_recipe(options.recipe));
    if (!recipe.projection)
      fail_usage("project", fmt::format("the recipe has no [projection] table ({})", options.recipe));
    return *recipe.projection;
  }
  settings.text = Json::array();
  // absolute, so that the same text is the same setting from wherever the command is called
  if (!options.text.empty()) {
    Json paths = Json::array();
    for (const std::string& path : options.text) paths.push_back(fs::absolute(path).lexically_normal().string());
    settings.text.push_back({{"kind", "files"}, {"paths", paths}});
  }
  if (!options.facts.empty()) {
    settings.text.push_back(
        {{"kind", "statements"}, {"facts", fs::absolute(options.facts).lexically_normal().string()}});
  }
  if (settings.text.empty())
    fail_usage("project", "no text to fit on", "give --text FILE ..., --facts FOLDER or --recipe");
  settings.tokens = options.tokens;
  settings.ridge = options.ridge;
  settings.seed = static_cast<uint64_t>(options.seed);
  return settings;
}

}  // namespace

void add_project_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("project", "Fit maps from a target's residual stream to an explainer's on the same text");
  command->add_option("--target", options->target, "folder of the model whose activations are explained")->required();
  command->add_option("--explainer", options->explainer, "folder of the model that will explain them")->required();
  command->add_option("--text", options->text, "plain text files to run both models on");
  command->add_option("--facts", options->facts, "a fact table, run as statements");
  command->add_option("--recipe", options->recipe, "take the text and settings of its [projection] table");
  command->add_option("--layers", options->layers, "of the target (default: all)")->delimiter(',');
  command->add_option("--method", options->method, "least_squares, or procrustes: orthogonal maps")
      ->capture_default_str();
  command->add_option("--tokens", options->tokens, "how much text to run")->capture_default_str();
  command->add_option("--ridge", options->ridge, "share of the mean squared activation added to the diagonal")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "order of the text")->capture_default_str();
  command->add_flag("--json", options->json, "what each map explains, as JSON");
  command->add_option("--out", options->out, "folder of projections.safetensors")->required();
  command->footer(
      "The maps are used by 'introspect train --projections FOLDER' with a recipe that sets\n"
      "[train.explainer.injection] projection = \"least_squares\" (or \"procrustes\").\n"
      "Example: introspect project --target models/tiny-llama --explainer models/tiny-llama-twin --facts facts "
      "--out runs/projections");
  command->callback([options] {
    std::vector<int64_t> layers = options->layers;
    if (layers.empty()) {
      const int64_t count = read_config(options->target).layers;
      for (int64_t layer = 0; layer < count; ++layer) layers.push_back(layer);
    }
    PairedSettings settings = settings_of(*options);
    settings.kind = parse_injection({{"projection", options->method}}, "--method").projection;
    if (!is_fitted(settings.kind)) {
      fail_usage("project", fmt::format("--method: got '{}', expected least_squares or procrustes", options->method));
    }
    Json list = Json::array();
    for (const ProjectionQuality& each :
         project_step(options->target, options->explainer, layers, settings, options->out)) {
      list.push_back(quality_to_json(each));
      if (!options->json) {
        std::printf(
            "layer %lld to layer %lld   explained variance %.3f (%lld pairs held out, %lld fitted, %lld tokens without "
            "partner)\n",
            static_cast<long long>(each.target_layer), static_cast<long long>(each.explainer_layer),
            each.explained_variance, static_cast<long long>(each.held_out_pairs), static_cast<long long>(each.pairs),
            static_cast<long long>(each.unpaired));
      }
    }
    if (options->json) std::printf("%s\n", list.dump(2).c_str());
  });
}

}  // namespace introspect
