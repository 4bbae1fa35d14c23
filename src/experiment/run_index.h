// What runs lie in a folder, and their scores as one table.
#pragma once

#include "report/report.h"
#include "report/table.h"

#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

// The scores of one task and target, as 'introspect run', 'demo' and 'evaluate' leave them.
struct FoundRun {
  fs::path folder;      // that holds the scores: RUN/scores, or a folder of 'introspect evaluate'
  std::string name;     // of the run, relative to where it was looked for
  Subject subject;      // task and target
  std::string command;  // that made the scores
  std::string started;  // "2026-11-22T20:55:00Z"
  fs::path page;        // report.html, or empty
  std::vector<Score> scores;
};

struct FoundRuns {
  std::vector<FoundRun> runs;  // the newest first
  // Folders with scores that cannot be used, and why: unfinished, unreadable.
  std::vector<std::string> left_out;
};

// Looks at every folder under `root`. Throws Error if there is no such folder.
FoundRuns find_runs(const fs::path& root);

// One run a line: name, task, target, headline metric, self with its interval and n, the best other explainer and the
// best floor with p against self, when it was made.
NamedTable index_table(const std::vector<FoundRun>& runs);
// Rows by metrics of one run, on all items, times 100.
NamedTable run_table(const FoundRun& run);

std::string table_csv(const NamedTable& table);
std::string table_markdown(const NamedTable& table);
// A tabular with booktabs' rules; the title is the caption.
std::string table_latex(const NamedTable& table);
// The index as a page: the table, a figure a task, and the command behind each run.
std::string index_page(const std::vector<FoundRun>& runs, const std::string& root);

}  // namespace introspect
