// The report of a run: report.html (one page that needs no network and no other file), report.md and scores.csv.
#pragma once

#include "evaluate/browse.h"
#include "evaluate/score.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// One cell of the search before balancing, and what became of it.
struct CellFact {
  std::string token_type, block, relation;
  int64_t items = 0, changed = 0;  // found
  int64_t kept = 0;                // items that went into the data set
  std::string reason;              // why it was dropped; empty if it was kept
};

using NamedValues = std::vector<std::pair<std::string, std::string>>;

struct ReportInput {
  std::string title;                // "A small model explains its own activations"
  std::string question;             // one sentence
  std::vector<std::string> answer;  // sentences; empty: made from the scores (headline.h)
  std::vector<Score> scores;
  std::vector<Comparison> comparisons;  // may be empty
  NamedValues facts;                    // of the data set: "examples" "8,400 train, ..."
  std::vector<CellFact> cells;          // may be empty
  std::vector<BrowsedExample> examples;
  std::string command;  // that made the run
  NamedValues settings, versions;
  std::vector<std::string> weak;  // what is weak about it, a sentence each
};

// Creates the folder. Equal input gives equal bytes.
void write_report(const ReportInput& input, const fs::path& folder);

// The three files as text.
std::string report_html(const ReportInput& input);
std::string report_markdown(const ReportInput& input);
std::string scores_csv(const std::vector<Score>& scores);

}  // namespace introspect
