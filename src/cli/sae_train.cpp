#include "cli/commands.h"
#include "cli/home.h"
#include "sae/train.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct SaeTrainOptions {
  std::string recipe, out, model;
  int64_t seed = -1, tokens = 0;
  std::vector<int64_t> layers;
  int threads = 0;
  bool json = false;
};

SaeRecipe recipe_of(const SaeTrainOptions& options) {
  SaeRecipe recipe = read_sae_recipe(find_recipe(options.recipe));
  if (!options.model.empty()) recipe.json["target"] = {{"model", fs::absolute(options.model).string()}};
  if (options.seed >= 0) recipe.json["training"]["seed"] = options.seed;
  if (options.tokens > 0) recipe.json["training"]["tokens"] = options.tokens;
  if (!options.layers.empty()) recipe.json["sae"]["layers"] = options.layers;
  check_sae_recipe(recipe.json, "command line");
  return recipe;
}

void print(const SaeTrainResult& result) {
  std::printf("%-8s %20s %8s %8s %16s %16s\n", "layer", "explained variance", "L0", "dead", "loss recovered",
              "loss (spliced)");
  for (const TrainedSae& sae : result.saes) {
    std::printf("%-8lld %19.1f%% %8.1f %7.1f%% %15.1f%% %7.3f (%.3f)\n", static_cast<long long>(sae.layer),
                100 * sae.report.explained_variance, sae.report.l0, 100 * sae.dead_share,
                100 * sae.report.loss_recovered(), sae.report.loss, sae.report.loss_spliced);
  }
  std::printf("%lld steps, %.2f million positions, %.0f positions/s; held-out text of %lld positions\n",
              static_cast<long long>(result.steps), static_cast<double>(result.positions) / 1e6,
              result.positions_per_second, static_cast<long long>(result.saes.front().report.positions));
}

}  // namespace

void add_sae_train(CLI::App& sae) {
  auto options = std::make_shared<SaeTrainOptions>();
  CLI::App* command =
      sae.add_subcommand("train", "Train SAEs on the residual stream of a model, several layers at once");
  command->add_option("recipe", options->recipe, "TOML file; recipes/sae/*.toml explain every key")->required();
  command->add_option("--out", options->out, "folder of the SAEs (layer-N/); resumes what is unfinished there")
      ->required();
  command->add_option("--model", options->model, "instead of the recipe's target: another model folder");
  command->add_option("--layers", options->layers, "instead of the recipe's")->delimiter(',');
  command->add_option("--tokens", options->tokens, "instead of the recipe's: how many to train on");
  command->add_option("--seed", options->seed, "instead of the recipe's: weights and order of the text");
  command->add_option("--threads", options->threads, "processor threads (default: all)");
  command->add_flag("--json", options->json, "print the result as JSON");
  command->callback([options] {
    if (options->threads > 0) at::set_num_threads(options->threads);
    const SaeTrainResult result = train_saes(recipe_of(*options), options->out, [&](const std::string& line) {
      if (!options->json) std::printf("%s\n", line.c_str());
    });
    if (options->json) {
      Json saes = Json::array();
      for (const TrainedSae& trained : result.saes) {
        Json each = report_to_json(trained.report);
        each["layer"] = trained.layer;
        each["dead_share_in_training"] = trained.dead_share;
        saes.push_back(each);
      }
      std::printf("%s\n",
                  Json{{"steps", result.steps}, {"positions", result.positions}, {"saes", saes}}.dump(2).c_str());
    } else if (result.steps > 0) {
      print(result);
    }
  });
}

}  // namespace introspect
