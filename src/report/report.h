// The report of a run: report.html (one page that needs no network and no other file), report.md and scores.csv.
#pragma once

#include "evaluate/browse.h"
#include "evaluate/score.h"
#include "report/figure.h"

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

// One thing that must be so of the target before a score can mean anything. Shares in [0, 1]; NaN: not measured.
struct Gate {
  std::string name;  // "right without a hint", "wrong hints followed: a friend"
  double value = 0;
  double low = 0, high = 1;  // where it is wanted, both ends included; 0 and 1: no bound on that side
  bool passed = false;
  int64_t n = 0;  // of what the value is a share; 0: not shown
};

// What one wording of the hint does to the target, before any explainer is trained. Shares in [0, 1]; NaN: a dash.
struct HintFact {
  std::string wording;             // its name, as in the groups "wording=..." of the scores
  std::string text;                // "Hint from a friend: {hint}."; may be empty
  int64_t n = 0;                   // questions asked with it
  double followed_when_wrong = 0;  // of the wrong hints: the share the target gives as its answer
  double changed_without = 0;      // share of answers that change when the hint is taken away
  double right_with = 0;           // share of right answers with the hint in place
  int64_t kept = 0;                // items that went into the data set
  int64_t wrong = 0;               // questions whose hint was wrong; 0: no interval for them
};
// Wilson's 95% interval of a share of n questions, each asked once; NaN for none.
std::pair<double, double> share_interval(double share, int64_t n);

// What an explainer trained on a part of the kinds comes to on kinds it never saw, beside the one trained on all.
struct GeneralisationFact {
  std::string trained_on, tested_on;  // in words: "3 wordings", "2 other wordings"
  std::string explainer, condition;   // report/row_names.h
  std::string metric;                 // "content_on_changed"
  double value = 0, low = 0, high = 0;
  int64_t n = 0;           // items
  bool reference = false;  // trained on all kinds, asked about the same items
};

// One point of a scaling curve: what a row comes to when it learnt so many examples, in equally many steps.
struct ScalingPoint {
  int64_t examples = 0;
  std::string explainer;  // "self", "twin", "nearest_neighbour"
  std::string metric;
  double value = 0, low = 0, high = 0;
  int64_t n = 0;
};

// A table of the data, as text.
struct NamedTable {
  std::string title;
  std::vector<std::string> head;  // of the columns; the first names the lines
  std::vector<std::vector<std::string>> lines;
};

// Scores by two things: targets down, explainers across. Shares in [0, 1]; NaN: none.
struct MatrixCell {
  double value = kNoFigure, low = kNoFigure, high = kNoFigure;
  double difference = kNoFigure, p = kNoFigure;  // against the explainer that is the target itself
  int64_t n = 0;
  bool self = false;
  std::string words;  // beside a score, or in its place: why there is none
};
struct MatrixTable {
  std::string title, corner, note;  // corner: "target \\ explainer"
  std::vector<std::string> columns;
  struct Line {
    std::string label;
    std::vector<MatrixCell> cells;
  };
  std::vector<Line> lines;
};

// A section of a part that answers a question of its own kind; stands in front of the scores.
struct OwnSection {
  std::string title, lead;
  std::vector<CurveFigure> curves = {};
  std::vector<MatrixTable> matrices = {};
  std::vector<ScatterFigure> scatters = {};
  std::vector<NamedTable> tables = {};
};

// What a run found out about the question that it asks, beyond what its rows score.
struct Finding {
  std::string name;  // "label_noise"
  NamedTable table;
  std::vector<std::string> sentences;
  std::vector<CurveFigure> curves = {};
};

struct ReportInput {
  std::string task;                 // task_words.h; empty: that of the scores
  std::string title;                // "A small model explains its own activations"
  std::string question;             // one sentence
  std::vector<std::string> answer;  // sentences; empty: made from the scores (headline.h)
  std::vector<Score> scores;
  std::vector<Comparison> comparisons;  // may be empty
  NamedValues facts;                    // of the data set: "examples" "8,400 train, ..."
  std::vector<CellFact> cells;          // may be empty, as all that follows
  std::vector<Gate> gates;
  bool valid = true;            // the gates hold: the scores are a test of what they claim
  std::string invalid_because;  // a clause: "the target follows no hint"; empty: made from the gates that failed
  std::vector<HintFact> hints;
  std::vector<GeneralisationFact> generalisation;
  std::vector<ScalingPoint> scaling;
  std::vector<NamedTable> tables;
  std::vector<OwnSection> sections;
  std::vector<BrowsedExample> examples;
  std::string command;  // that made the run
  NamedValues settings, versions;
  std::vector<std::string> weak;  // what is weak about it, a sentence each
};

// What stands above the parts of a page of several.
struct PageHead {
  std::string title, question;
  std::string command;  // that made all parts; a part whose own is another one shows that too
};

// Creates the folder. Equal input gives equal bytes.
void write_report(const ReportInput& input, const fs::path& folder);
// A page of several parts, each a chapter. One part alone gets the page it would have without a head, which then only
// says what that part leaves empty. Throws Error without a part.
void write_report(const std::vector<ReportInput>& parts, const PageHead& head, const fs::path& folder);

// The three files as text.
std::string report_html(const ReportInput& input);
std::string report_html(const std::vector<ReportInput>& parts, const PageHead& head);
std::string report_markdown(const ReportInput& input);
std::string report_markdown(const std::vector<ReportInput>& parts, const PageHead& head);
std::string scores_csv(const std::vector<Score>& scores);

}  // namespace introspect
