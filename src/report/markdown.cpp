// The report as Markdown: the same figures as tables, for repositories and terminals.
#include "report/headline.h"
#include "report/page.h"
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
  const std::vector<std::string> compared = table.headline_metrics();
  for (size_t m = 0; m < compared.size(); ++m) {
    const std::string of = m == 0 ? "first column" : escape_markdown(metric_label(compared[m]));
    head.insert(head.end(), {"against self, " + of, "p"});
  }
  head.insert(head.end(), {"unparsable", "seeds"});
  std::string text = table_head(head);
  for (const RowName& row : table.rows()) {
    std::vector<std::string> cells = {escape_markdown(row.label)};
    for (const std::string& metric : table.metrics()) cells.push_back(shown(table.find(row, metric)));
    const Score* headline = table.find(row, table.headline_metric());
    for (const std::string& metric : compared) {
      const Score* score = table.find(row, metric);
      const bool tested = score && std::isfinite(score->p_against_self);
      cells.push_back(tested ? signed_percent(score->difference_to_self) : "–");
      cells.push_back(tested ? escape_markdown(p_cell(score->p_against_self)) : "–");
    }
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

std::string groups_of(const ScoreTable& table) {
  std::string text;
  const std::vector<RowName> rows = group_rows(table);
  for (const GroupAttribute& attribute : table.words().listed_by) {
    const std::vector<std::string> values = table.groups(attribute.name);
    if (values.empty() || rows.empty()) continue;
    for (const std::string& metric : table.headline_metrics()) {
      std::vector<std::string> head = {attribute.title + ": " + metric_label(metric), "n"};
      for (const RowName& row : rows) head.push_back(escape_markdown(row.label));
      text += "\n" + table_head(head);
      for (const std::string& value : values) {
        const std::string group = attribute.name + "=" + value;
        const Score* first = table.find(rows[0], metric, group);
        std::vector<std::string> line = {escape_markdown(value), first ? count(first->n) : "–"};
        for (const RowName& row : rows) line.push_back(shown(table.find(row, metric, group)));
        text += table_row(line);
      }
    }
  }
  return text;
}

std::string generalisation_of(const ReportInput& input) {
  std::string text = table_head({"trained on", "tested on", "row", "metric", "score", "n"});
  for (const GeneralisationFact& fact : input.generalisation) {
    const std::string range = interval(fact.low, fact.high);
    text +=
        table_row({escape_markdown(fact.trained_on + (fact.reference ? " (for comparison, on the same items)" : "")),
                   escape_markdown(fact.tested_on),
                   escape_markdown(row_name(fact.explainer, fact.condition, task_name(input)).label),
                   escape_markdown(metric_label(fact.metric)),
                   percent(fact.value) + (range.empty() ? "" : " (" + range + ")"), count(fact.n)});
  }
  return text;
}

std::string share_shown(double share, int64_t n) {
  const auto [low, high] = share_interval(share, n);
  const std::string range = interval(low, high);
  return percent(share) + (range.empty() ? "" : " (" + range + ")");
}

std::string hints_of(const std::vector<HintFact>& hints) {
  std::string text = table_head({"wording", "questions", "wrong hints followed", "answer changes without the hint",
                                 "right with the hint", "items kept"});
  for (const HintFact& hint : hints) {
    text += table_row({escape_markdown(hint.wording + (hint.text.empty() ? "" : ": " + hint.text)), count(hint.n),
                       share_shown(hint.followed_when_wrong, hint.wrong), share_shown(hint.changed_without, hint.n),
                       share_shown(hint.right_with, hint.n), count(hint.kept)});
  }
  return text + "\nTimes 100, with Wilson's 95% intervals over questions.\n";
}

std::string gates_of(const ReportInput& input) {
  std::string text = table_head({"gate, of the target", "share", "wanted", "n", "holds"});
  for (const Gate& gate : input.gates) {
    text += table_row({escape_markdown(gate.name), percent(gate.value), wanted_words(gate),
                       gate.n > 0 ? count(gate.n) : "–", gate.passed ? "yes" : "no"});
  }
  return text + fmt::format("\nThe test is {}.\n", input.valid ? "valid" : "not valid");
}

std::string lines_of(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += escape_markdown(sentence) + "\n";
  return text;
}

}  // namespace

std::string markdown_table(const NamedTable& table) {
  const auto escaped = [](std::vector<std::string> cells) {
    for (std::string& cell : cells) cell = escape_markdown(cell);
    return cells;
  };
  std::string text = table_head(escaped(table.head));
  for (const std::vector<std::string>& line : table.lines) text += table_row(escaped(line));
  const std::string note = note_on_p(table);
  return text + (note.empty() ? "" : "\n" + escape_markdown(note) + "\n");
}

namespace {

// One part; `level` of its title is 1, or 2 for a chapter, whose page's command is `page_command`.
std::string part_of(const ReportInput& input, size_t level, const std::string& page_command) {
  const std::string title = std::string(level, '#') + " ", section = "\n#" + title;
  std::string text = title + escape_markdown(input.title) + "\n\n";
  if (!input.question.empty()) text += "_" + escape_markdown(input.question) + "_\n\n";
  text += lines_of(validity_sentences(input)) + lines_of(input.answer);
  for (const OwnSection& own : input.sections) {
    text += section + escape_markdown(own.title) + "\n\n" + own_section_markdown(own);
  }
  const std::vector<Subject> subjects = subjects_of(input.scores);
  for (const Subject& subject : subjects) {
    const ScoreTable table(input.scores, subject);
    text += section + fmt::format("Scores: {}\n\n", escape_markdown(task_title(subject.task, subject.target)));
    if (input.answer.empty() || subjects.size() > 1) text += lines_of(headline_sentences(table, input)) + "\n";
    text += scores_of(table);
    if (table.words().task == Task::patching) continue;
    const std::string by = table.words().task == Task::ablation ? "By wording" : table.words().group_title;
    if (const std::string groups = groups_of(table); !groups.empty()) text += section + by + "\n" + groups;
  }
  if (!input.scaling.empty()) text += section + "How little data is enough\n\n" + markdown_table(scaling_table(input));
  if (!input.generalisation.empty()) text += section + "Generalisation\n\n" + generalisation_of(input);
  if (!input.hints.empty()) text += section + "How far hints move the answer\n\n" + hints_of(input.hints);
  if (!input.cells.empty()) {
    text += section + "Share of answers that the patch changes, before balancing\n\n" + map_of(input.cells);
  }
  if (!input.facts.empty() || !input.gates.empty()) text += section + "The data\n\n" + values_of(input.facts);
  if (!input.gates.empty()) text += (input.facts.empty() ? "" : "\n") + gates_of(input);
  for (const NamedTable& table : input.tables) text += section + table.title + "\n\n" + markdown_table(table);
  if (!input.weak.empty()) {
    text += section + "What is weak\n\n";
    for (const std::string& sentence : input.weak) text += "- " + escape_markdown(sentence) + "\n";
  }
  const bool own = !input.command.empty() && input.command != page_command;
  if (level > 1 && !own && input.settings.empty() && input.versions.empty()) return text;
  text += section + (level == 1 || own ? "How to run it again\n\n" : "Settings and versions\n\n");
  if (own) text += "```\n" + input.command + "\n```\n\n";
  return text + values_of(input.settings) + values_of(input.versions);
}

}  // namespace

std::string report_markdown(const ReportInput& input) {
  return part_of(input, 1, "");
}

std::string report_markdown(const std::vector<ReportInput>& parts, const PageHead& head) {
  if (parts.size() < 2) return report_markdown(only_part(parts, head));
  std::string text = "# " + escape_markdown(head.title) + "\n\n", chapters;
  if (!head.question.empty()) text += "_" + escape_markdown(head.question) + "_\n\n";
  Anchors anchors;
  for (const ReportInput& input : parts) {
    const std::string anchor = anchors.of(part_name(input));
    text +=
        fmt::format("- [{}](#{}): {}\n", escape_markdown(input.title), anchor, escape_markdown(first_sentence(input)));
    chapters += fmt::format("\n<a id=\"{}\"></a>\n\n", anchor) + part_of(input, 2, head.command);
  }
  text += chapters;
  if (!head.command.empty()) text += "\n## How to run all of it again\n\n```\n" + head.command + "\n```\n";
  return text;
}

}  // namespace introspect
