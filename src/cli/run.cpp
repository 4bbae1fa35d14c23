// run, demo and recipe: the whole way in one command.
#include "base/error.h"
#include "base/files.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/score_table.h"
#include "experiment/patching_run.h"
#include "experiment/recipe.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <ATen/Parallel.h>
#include <fmt/format.h>

namespace introspect {

namespace {

void walk(const fs::path& recipe_path, const fs::path& out, int workers, const std::string& command, bool json) {
  const Recipe recipe = read_recipe(recipe_path);
  RunOptions options;
  options.workers = workers > 0 ? workers : at::get_num_threads();
  options.command = command;
  const RunResult result = run_patching(recipe, out, options, [&](const std::string& line) {
    std::fprintf(json ? stderr : stdout, "%s\n", line.c_str());
    std::fflush(stdout);
  });
  if (json) {
    std::printf("%s", read_text(out / "scores" / "scores.json").c_str());
  } else {
    print_score_table(result.scores);
    std::printf("\npage  %s\n", fs::absolute(result.page).lexically_normal().string().c_str());
  }
}

void add_demo(CLI::App& app) {
  struct Options {
    bool quick = false, full = false, json = false;
    std::string out = "runs/demo";
    int workers = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "demo", "The whole way on the bundled models: patches, data set, explainers, scores with floors, report");
  CLI::Option* quick = command->add_flag("--quick", options->quick, "half a minute: few steps, few rows; its scores mean nothing");
  command->add_flag("--full", options->full, "all rows, a search of settings and three seeds: an hour")->excludes(quick);
  command->add_option("--out", options->out, "folder of the run; what is complete there is kept")
      ->capture_default_str();
  command->add_option("--workers", options->workers, "explainers trained side by side (default: processor threads)");
  command->add_flag("--json", options->json, "print scores.json instead of the table");
  command->footer("Example: introspect demo --out runs/demo");
  command->callback([options] {
    const std::string name = options->quick ? "demo-quick" : options->full ? "demo-full" : "demo";
    const fs::path out =
        options->out == "runs/demo" && name != "demo" ? fs::path("runs") / name : fs::path(options->out);
    const std::string flag = options->quick ? " --quick" : options->full ? " --full" : "";
    walk(home_folder() / "recipes" / (name + ".toml"), out, options->workers,
         "introspect demo" + flag + " --out " + out.string(), options->json);
  });
}

void add_run(CLI::App& app) {
  struct Options {
    std::string recipe, out;
    int workers = 0;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Walk a recipe from target to report");
  command->add_option("recipe", options->recipe, "a TOML file, or the name of a shipped one ('introspect recipe ls')")
      ->required();
  command->add_option("--out", options->out, "folder of the run (default: runs/<recipe>)");
  command->add_option("--workers", options->workers, "explainers trained side by side (default: processor threads)");
  command->add_flag("--json", options->json, "print scores.json instead of the table");
  command->footer("Example: introspect recipe copy demo mine.toml, change it, introspect run mine.toml");
  command->callback([options] {
    const fs::path recipe = find_recipe(options->recipe);
    const fs::path out = options->out.empty() ? fs::path("runs") / recipe.stem() : fs::path(options->out);
    walk(recipe, out, options->workers, "introspect run " + options->recipe + " --out " + out.string(), options->json);
  });
}

void add_recipe(CLI::App& app) {
  CLI::App* command = app.add_subcommand("recipe", "List, show, copy and check recipes");
  command->require_subcommand(1);
  command->add_subcommand("ls", "the shipped recipes")->callback([] {
    for (const fs::path& path : shipped_recipes()) {
      const std::string text = read_text(path);
      const std::string first = text.starts_with("# ") ? text.substr(2, text.find('\n') - 2) : "";
      const fs::path name = fs::relative(path, home_folder() / "recipes").replace_extension();
      std::printf("%-28s %s\n", name.string().c_str(), first.c_str());
    }
  });
  auto name = std::make_shared<std::string>();
  auto to = std::make_shared<std::string>();
  CLI::App* show = command->add_subcommand("show", "print a recipe");
  show->add_option("recipe", *name, "name or file")->required();
  show->callback([name] { std::printf("%s", read_text(find_recipe(*name)).c_str()); });
  CLI::App* copy = command->add_subcommand("copy", "copy a shipped recipe to change it; its paths are made absolute");
  copy->add_option("recipe", *name, "name or file")->required();
  copy->add_option("to", *to, "file to write; must not exist")->required();
  copy->callback([name, to] {
    if (fs::exists(*to)) fail_usage("recipe", fmt::format("'{}' exists already", *to));
    const fs::path from = find_recipe(*name);
    std::string text = read_text(from);
    // shipped recipes name their files relative to themselves: "../models/tiny-llama"
    for (size_t at = text.find("\"../"); at != std::string::npos; at = text.find("\"../", at + 1)) {
      const size_t end = text.find('"', at + 1);
      const fs::path path = (fs::absolute(from).parent_path() / text.substr(at + 1, end - at - 1)).lexically_normal();
      text.replace(at + 1, end - at - 1, path.string());
    }
    write_text(*to, text);
    std::printf("%s\n", to->c_str());
  });
  CLI::App* validate = command->add_subcommand("validate", "check every key of a recipe without running it");
  validate->add_option("recipe", *name, "name or file")->required();
  validate->callback([name] {
    const fs::path path = find_recipe(*name);
    const std::string kind = validate_recipe(path);
    std::printf("%s: a valid recipe of kind %s\n", path.string().c_str(), kind.c_str());
  });
}

}  // namespace

void add_run_commands(CLI::App& app) {
  add_demo(app);
  add_run(app);
  add_recipe(app);
}

}  // namespace introspect
