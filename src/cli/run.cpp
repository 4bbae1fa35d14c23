// run, demo and recipe: the whole way in one command.
#include "experiment/run.h"

#include "base/error.h"
#include "base/files.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/score_table.h"
#include "evaluate/score.h"
#include "experiment/inverse.h"
#include "experiment/joint.h"
#include "experiment/matrix.h"
#include "experiment/recipe.h"
#include "experiment/rehearsal.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void walk(const std::vector<fs::path>& paths, const fs::path& out, int workers, RunOptions options, bool json) {
  options.workers = workers > 0 ? workers : at::get_num_threads();
  const auto say = [&](const std::string& line) {
    std::fprintf(json ? stderr : stdout, "%s\n", line.c_str());
    std::fflush(stdout);
  };
  const auto run = [&] {
    const std::string kind = paths.size() == 1 ? read_toml(paths.front()).value("kind", "") : "";
    if (kind == "inverse") return run_inverse(read_inverse_recipe(paths.front()), out, options, say);
    if (kind == "matrix") return run_matrix(read_matrix_recipe(paths.front()), out, options, say);
    std::vector<Recipe> recipes;
    std::vector<JointRecipe> joint;
    for (const fs::path& path : paths) {
      if (read_toml(path).value("kind", "") == "joint")
        joint.push_back(read_joint_recipe(path));
      else
        recipes.push_back(read_recipe(path));
    }
    if (joint.empty()) return run_recipes(recipes, out, options, say);
    if (recipes.empty() && joint.size() == 1) return run_joint(joint.front(), out, options, say);
    if (joint.size() > 1) fail_usage("run", "two recipes of the kind joint", "run them into folders of their own");
    // beside single tasks the page has the comparison alone
    std::vector<ReportInput> parts = recipe_parts(recipes, out, options, say);
    say("\n" + joint.front().title);
    parts.push_back(joint_parts(joint.front(), out / "joint", options, say).front());
    return write_run(parts, out, options);
  };
  const RunResult result = run();
  if (json) {
    std::printf("%s", scores_text(result.scores).c_str());
  } else {
    if (result.summary.empty()) print_score_table(result.scores);
    std::printf("%s", result.summary.c_str());
    std::printf("\npage  %s\n", fs::absolute(result.page).lexically_normal().string().c_str());
  }
}

std::string clock_time(double seconds) {
  if (!(seconds >= 0)) return "not reckoned";
  const auto whole = static_cast<int64_t>(std::ceil(seconds));
  return whole < 90     ? fmt::format("{} s", whole)
         : whole < 5400 ? fmt::format("{} min", (whole + 30) / 60)
                        : fmt::format("{:.1f} h", seconds / 3600);
}

// Walks the recipe in small and says how long it would be in full.
void rehearse(const fs::path& path, const fs::path& out, int workers, RunOptions options, bool json) {
  options.workers = workers > 0 ? workers : at::get_num_threads();
  const Recipe full = read_recipe(path), small = rehearsal_of(full);
  run_recipes({small}, out, options, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  const std::vector<RehearsedPart> parts = reckon(full, small, out);
  const double gigabytes = static_cast<double>(peak_memory()) / 1e9;
  if (json) {
    Json list = Json::array();
    for (const RehearsedPart& part : parts) {
      list.push_back({{"part", part.name},
                      {"steps", part.folders},
                      {"seconds", part.seconds},
                      {"reckoned_seconds", std::isfinite(part.real) ? Json(part.real) : Json()},
                      {"proportion", part.proportion}});
    }
    std::printf("%s\n", Json{{"parts", list}, {"peak_memory_bytes", peak_memory()}}.dump(2).c_str());
    return;
  }
  std::printf("\nEverything fits: peak memory %.1f GB. Scores of a rehearsal mean nothing.\n\n", gigabytes);
  std::printf("%-14s %5s %12s %16s  %s\n", "part", "steps", "rehearsed", "the recipe", "in proportion");
  double sum = 0;
  std::string left_out;
  for (const RehearsedPart& part : parts) {
    std::printf("%-14s %5lld %12s %16s  %s\n", part.name.c_str(), static_cast<long long>(part.folders),
                clock_time(part.seconds).c_str(), clock_time(part.real).c_str(), part.proportion.c_str());
    if (std::isfinite(part.real))
      sum += part.real;
    else
      left_out += (left_out.empty() ? "; without " : ", ") + part.name;
  }
  std::printf("%-14s %5s %12s %16s  with one worker, reckoned high%s\n", "together", "", "", clock_time(sum).c_str(),
              left_out.c_str());
}

void add_demo(CLI::App& app) {
  struct Options {
    bool quick = false, full = false, json = false;
    std::string out = "runs/demo", task;
    int workers = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "demo", "The whole way on the bundled models: ground truth, explainers, scores with floors, report");
  CLI::Option* quick =
      command->add_flag("--quick", options->quick, "a minute: few steps, few rows; its scores mean nothing");
  command->add_flag("--full", options->full, "all rows, a search of settings and three seeds: an hour")
      ->excludes(quick);
  command->add_option("--task", options->task, "only patching, ablation, features or (with --full) joint");
  command->add_option("--out", options->out, "folder of the run; what is complete there is kept")
      ->capture_default_str();
  command->add_option("--workers", options->workers, "explainers trained side by side (default: processor threads)");
  command->add_flag("--json", options->json, "print scores.json instead of the table");
  command->footer("Example: introspect demo --out runs/demo");
  command->callback([options] {
    const std::string name = options->quick ? "demo-quick" : options->full ? "demo-full" : "demo";
    const fs::path out =
        options->out == "runs/demo" && name != "demo" ? fs::path("runs") / name : fs::path(options->out);
    RunOptions run;
    run.title = "Can a small model say what decides its answers?";
    run.question =
        "A target model is examined by procedures whose outcome is ground truth; explainers are trained to say that "
        "outcome in words. Is what they say right, and does a model say it better of itself than another does?";
    run.command = fmt::format("introspect demo{}{} --out {}",
                              options->quick  ? " --quick"
                              : options->full ? " --full"
                                              : "",
                              options->task.empty() ? "" : " --task " + options->task, out.string());
    std::vector<fs::path> recipes;
    for (const char* task : {"patching", "ablation", "features", "joint"}) {
      const fs::path recipe = home_folder() / "recipes" / fmt::format("{}-{}.toml", name, task);
      if (fs::exists(recipe) && (options->task.empty() || options->task == task)) recipes.push_back(recipe);
    }
    if (recipes.empty())
      fail_usage("demo", fmt::format("--task: got '{}', expected patching, ablation, features or (with --full) joint",
                                     options->task));
    // a task alone goes where it lies beside the other one
    walk(recipes, options->task.empty() ? out : out / options->task, options->workers, run, options->json);
  });
}

void add_run(CLI::App& app) {
  struct Options {
    std::vector<std::string> recipes;
    std::string out;
    int workers = 0;
    bool json = false, rehearse = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Walk a recipe from target to report");
  command
      ->add_option("recipe", options->recipes,
                   "a TOML file, or the name of a shipped one ('introspect recipe ls'); of several, one a task, one "
                   "page is made")
      ->required();
  command->add_option("--out", options->out, "folder of the run (default: runs/<recipe>)");
  command->add_option("--workers", options->workers, "explainers trained side by side (default: processor threads)");
  command->add_flag("--json", options->json, "print scores.json instead of the table");
  command->add_flag("--rehearse", options->rehearse,
                    "walk it in small (three steps of each training, four answers of each row) to see that everything "
                    "fits, and say how long the recipe would take; into runs/<recipe>-rehearsal");
  command->footer(
      "Examples: introspect recipe copy demo-patching mine.toml, change it, introspect run mine.toml --rehearse,\n"
      "          introspect run mine.toml");
  command->callback([options] {
    std::vector<fs::path> recipes;
    std::string names;
    for (const std::string& name : options->recipes) {
      recipes.push_back(find_recipe(name));
      names += " " + name;
    }
    const std::string folder = recipes.front().stem().string() + (options->rehearse ? "-rehearsal" : "");
    const fs::path out = options->out.empty() ? fs::path("runs") / folder : fs::path(options->out);
    RunOptions run;
    run.title = "What explainers say, task by task";
    run.command = fmt::format("introspect run{} --out {}", names, out.string());
    if (!options->rehearse) return walk(recipes, out, options->workers, run, options->json);
    if (recipes.size() > 1) fail_usage("run", "--rehearse: got several recipes, expected one");
    rehearse(recipes.front(), out, options->workers, run, options->json);
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
