#include "train/pretrain.h"

#include "cli/commands.h"
#include "cli/home.h"

#include <cstdio>
#include <memory>
#include <string>

#include <ATen/Parallel.h>

namespace introspect {

void add_pretrain_command(CLI::App& app) {
  struct Options {
    std::string recipe, start_from, out;
    int64_t seed = -1;
    int threads = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pretrain", "Train a small model from scratch on a mixture of texts");
  command->add_option("recipe", options->recipe, "TOML file; recipes/pretrain/*.toml explain every key")->required();
  command->add_option("--out", options->out, "folder of the model; resumes what is unfinished there")->required();
  command->add_option("--seed", options->seed, "instead of the recipe's: weights and order of the data");
  command->add_option("--start-from", options->start_from, "instead of the recipe's: the model to train further");
  command->add_option("--threads", options->threads, "processor threads (default: all)");
  command->callback([options] {
    if (options->threads > 0) at::set_num_threads(options->threads);
    PretrainRecipe recipe = read_pretrain_recipe(find_recipe(options->recipe));
    if (!options->start_from.empty()) recipe.json["model"]["start_from"] = fs::absolute(options->start_from).string();
    const PretrainResult result = pretrain(recipe, options->out, options->seed,
                                           [](const std::string& line) { std::printf("%s\n", line.c_str()); });
    if (result.steps > 0) {
      std::printf("%lld steps, %.2f million tokens, loss %.3f, %.0f tokens/s, %.0f%% of the measured product rate\n",
                  static_cast<long long>(result.steps), static_cast<double>(result.tokens) / 1e6, result.loss,
                  result.tokens_per_second, 100 * result.product_share);
    }
  });
}

}  // namespace introspect
