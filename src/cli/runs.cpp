// introspect runs: what runs there are, one as a table, two side by side, all on a page.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "experiment/compare_runs.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Filter {
  std::string root = "runs", task, target, contains;
};

struct Options {
  Filter filter;
  std::string format = "text", first, second, metric, out;
};

std::vector<FoundRun> filtered(const Filter& filter) {
  FoundRuns found = find_runs(filter.root);
  for (const std::string& why : found.left_out) say("left out: " + why);
  std::erase_if(found.runs, [&](const FoundRun& run) {
    return (!filter.task.empty() && run.subject.task != filter.task) ||
           (!filter.target.empty() && run.subject.target != filter.target) ||
           (!filter.contains.empty() && run.name.find(filter.contains) == std::string::npos &&
            run.command.find(filter.contains) == std::string::npos);
  });
  return found.runs;
}

// The run in a folder: of several tasks the one that is asked for.
FoundRun one_run(const std::string& folder, const std::string& task) {
  std::vector<FoundRun> runs = filtered({folder, task, "", ""});
  if (runs.size() == 1) return runs.front();
  std::string names;
  for (const FoundRun& run : runs) names += fmt::format("\n  {} ({})", run.folder.string(), run.subject.task);
  fail_usage("runs", fmt::format("{} holds {} sets of scores, expected 1{}", folder, runs.size(), names),
             runs.empty() ? "a run that is complete has scores/scores.json" : "name one of them, or its --task");
}

size_t width_of(const std::string& text) {  // of UTF-8, in characters
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void print_text(const NamedTable& table) {
  std::vector<size_t> widths(table.head.size());
  for (size_t i = 0; i < widths.size(); ++i) {
    widths[i] = width_of(table.head[i]);
    for (const auto& line : table.lines) widths[i] = std::max(widths[i], width_of(line[i]));
  }
  const auto print = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      line += cells[i];
      if (i + 1 < cells.size()) line += std::string(widths[i] - width_of(cells[i]) + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  };
  std::printf("%s\n", table.title.c_str());
  print(table.head);
  for (const auto& line : table.lines) print(line);
}

void print_table(const NamedTable& table, const std::string& format) {
  if (format == "csv") {
    std::printf("%s", table_csv(table).c_str());
  } else if (format == "latex") {
    std::printf("%s", table_latex(table).c_str());
  } else if (format == "markdown") {
    std::printf("%s", table_markdown(table).c_str());
  } else if (format == "json") {
    Json lines = Json::array();
    for (const auto& line : table.lines) {
      Json json = Json::object();
      for (size_t i = 0; i < line.size(); ++i) json[table.head[i]] = line[i];
      lines.push_back(std::move(json));
    }
    std::printf("%s\n", lines.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    print_text(table);
  }
}

void add_format(CLI::App& command, Options& options) {
  command.add_option("--format", options.format, "text, csv, latex, markdown or json")
      ->check(CLI::IsMember({"text", "csv", "latex", "markdown", "json"}))
      ->capture_default_str();
}

void add_filter(CLI::App& command, Filter& filter) {
  command.add_option("folder", filter.root, "where to look for runs")->capture_default_str();
  command.add_option("--task", filter.task, "only patching, ablation or features");
  command.add_option("--target", filter.target, "only of this target");
  command.add_option("--contains", filter.contains, "only where the run's name or command holds this");
}

void add_ls(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("ls", "Every run in a folder with its headline");
  add_filter(*command, options->filter);
  add_format(*command, *options);
  command->footer("Example: introspect runs ls runs --task features");
  command->callback([options] { print_table(index_table(filtered(options->filter)), options->format); });
}

void add_show(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("show", "All scores of one run, as a table for a paper or a spreadsheet");
  command->add_option("run", options->first, "folder of the run")->required();
  command->add_option("--task", options->filter.task, "where the run has several");
  add_format(*command, *options);
  command->footer("Example: introspect runs show runs/demo --task patching --format latex");
  command->callback(
      [options] { print_table(run_table(one_run(options->first, options->filter.task)), options->format); });
}

void add_compare(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("compare", "Two runs side by side");
  command->add_option("first", options->first, "folder of a run")->required();
  command->add_option("second", options->second, "folder of another of the same task")->required();
  command->add_option("--task", options->filter.task, "where a run has several");
  command->add_option("--metric", options->metric, "only this one, like exact_match");
  add_format(*command, *options);
  command->footer(
      "Where both runs answered the same examples, differences are paired by them and have a p; else intervals are\n"
      "those of two independent runs.\nExample: introspect runs compare runs/demo runs/mine --task features");
  command->callback([options] {
    const RunComparison compared = compare_runs(one_run(options->first, options->filter.task),
                                                one_run(options->second, options->filter.task), options->metric);
    print_table(compared.table, options->format);
    if (options->format != "text") return;
    std::printf("%s\n", compared.paired ? "paired by the examples that both answered"
                                        : "not paired: the runs have different data sets, or no answers beside them");
    if (compared.only_first + compared.only_second > 0) {
      std::printf("not compared: %lld rows of the first alone, %lld of the second\n",
                  static_cast<long long>(compared.only_first), static_cast<long long>(compared.only_second));
    }
  });
}

void add_page(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("page", "All runs of a folder on one page");
  add_filter(*command, options->filter);
  command->add_option("--out", options->out, "HTML file")->required();
  command->footer("Example: introspect runs page runs --out runs/index.html");
  command->callback([options] {
    std::vector<FoundRun> runs = filtered(options->filter);
    // links are relative to the page, so that the folder can be moved
    const fs::path base = fs::absolute(options->out).parent_path();
    fs::create_directories(base);
    for (FoundRun& run : runs) {
      if (!run.page.empty()) run.page = fs::relative(run.page, base);
    }
    write_text(options->out, index_page(runs, options->filter.root));
    std::printf("%s\n", options->out.c_str());
  });
}

}  // namespace

void add_runs_commands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("runs", "What runs there are, and what they found");
  group->require_subcommand(1);
  add_ls(*group);
  add_show(*group);
  add_compare(*group);
  add_page(*group);
}

}  // namespace introspect
