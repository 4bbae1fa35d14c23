// The report as Markdown: the same figures as tables, for repositories and terminals.
#include "report/headline.h"
#include "report/report.h"
#include "report/sections.h"
#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

std::string table_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

std::string table_head(const std::vector<std::string>& cells) {
  std::string rule = "|---|";
  for (size_t i = 1; i < cells.size(); ++i) rule += "---:|";
  return table_row(cells) + rule + "\n";
}

std::string shown(const Score* score) {
  if (!score) return "–";
  const std::string range = interval(score->low, score->high);
  return percent(score->value) + (range.empty() ? "" : " (" + range + ")");
}

std::string scores_of(const ScoreTable& table) {
  std::vector<std::string> head = {"row"};
  for (const std::string& metric : table.metrics()) head.push_back(escape_markdown(metric_label(metric)));
  head.insert(head.end(), {"against self, first column", "p", "unparsable", "seeds"});
  std::string text = table_head(head);
  for (const RowName& row : table.rows()) {
    std::vector<std::string> cells = {escape_markdown(row.label)};
    for (const std::string& metric : table.metrics()) cells.push_back(shown(table.find(row, metric)));
    const Score* headline = table.find(row, table.headline_metric());
    const bool compared = headline && std::isfinite(headline->p_against_self);
    cells.push_back(compared ? signed_percent(headline->difference_to_self) : "–");
    cells.push_back(compared ? escape_markdown(p_value(headline->p_against_self).substr(2)) : "–");
    cells.push_back(headline ? fmt::format("{:g}", std::round(headline->unparsable * 10) / 10) : "–");
    cells.push_back(headline ? std::to_string(headline->seeds) : "–");
    text += table_row(cells);
  }
  return text + "\nTimes 100, with 95% intervals. " + whisker_note(table, table.headline_metric()) +
         " (first column); p from paired permutation tests that swap whole clusters.\n";
}

std::string values_of(const NamedValues& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    text += "- " + escape_markdown(name) + ": " + escape_markdown(value) + "\n";
  }
  return text;
}

std::string map_of(const std::vector<CellFact>& cells) {
  const BlockMap map = block_map(cells);
  std::vector<std::string> head = {"token type"};
  for (const std::string& block : map.blocks) head.push_back("block " + escape_markdown(block));
  std::string text = table_head(head);
  for (size_t t = 0; t < map.token_types.size(); ++t) {
    std::vector<std::string> line = {escape_markdown(map.token_types[t])};
    for (size_t b = 0; b < map.blocks.size(); ++b) {
      const auto items = static_cast<double>(map.items[t][b]), changed = static_cast<double>(map.changed[t][b]);
      line.push_back(items > 0 ? fmt::format("{} of {}", percent(changed / items), count(map.items[t][b])) : "–");
    }
    text += table_row(line);
  }
  return text;
}

}  // namespace

std::string report_markdown(const ReportInput& input) {
  std::string text = "# " + escape_markdown(input.title) + "\n\n";
  if (!input.question.empty()) text += "_" + escape_markdown(input.question) + "_\n\n";
  for (const std::string& sentence : input.answer) text += escape_markdown(sentence) + "\n";
  const std::vector<Subject> subjects = subjects_of(input.scores);
  for (const Subject& subject : subjects) {
    const ScoreTable table(input.scores, subject);
    text += fmt::format("\n## Scores: {}\n\n",
                        escape_markdown(subject.task + (subject.target.empty() ? "" : " of " + subject.target)));
    if (input.answer.empty() || subjects.size() > 1) {
      for (const std::string& sentence : headline_sentences(table)) text += escape_markdown(sentence) + "\n";
      text += "\n";
    }
    text += scores_of(table);
  }
  if (!input.cells.empty()) {
    text += "\n## Share of answers that the patch changes, before balancing\n\n" + map_of(input.cells);
  }
  if (!input.facts.empty()) text += "\n## The data\n\n" + values_of(input.facts);
  if (!input.weak.empty()) {
    text += "\n## What is weak\n\n";
    for (const std::string& sentence : input.weak) text += "- " + escape_markdown(sentence) + "\n";
  }
  text += "\n## How to run it again\n\n";
  if (!input.command.empty()) {
    text += "```\n" + input.command + "\n```\n\n";
  }
  return text + values_of(input.settings) + values_of(input.versions);
}

}  // namespace introspect
