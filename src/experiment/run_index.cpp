#include "experiment/run_index.h"

#include "base/error.h"
#include "base/json.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string joined(const Json& words) {
  std::string line;
  for (const Json& word : words) line += (line.empty() ? "" : " ") + word.get<std::string>();
  return line;
}

// The page of a run stands beside its scores, or one folder up where several tasks share one.
fs::path page_of(const fs::path& scores) {
  for (fs::path folder = scores.parent_path(); const auto& up : {folder, folder.parent_path()}) {
    if (fs::exists(up / "report" / "report.html")) return up / "report" / "report.html";
  }
  return {};
}

void add_run(const fs::path& root, const fs::path& folder, FoundRuns& found) {
  try {
    const std::string label = (folder / "run.json").string();
    const Json record = read_json(label);
    if (json_get<std::string>(record, "status", label) != "complete") {
      found.left_out.push_back(fmt::format("{}: unfinished", folder.string()));
      return;
    }
    const std::vector<Score> scores = load_scores(folder / "scores.json");
    std::string name = fs::relative(folder, root).string();
    if (folder.filename() == "scores") name = fs::relative(folder.parent_path(), root).string();
    for (const Subject& subject : subjects_of(scores)) {
      FoundRun run{folder,
                   name == "." ? root.filename().string() : name,
                   subject,
                   joined(record.at("command")),
                   json_get_or<std::string>(record, "started", "", label),
                   page_of(folder),
                   {}};
      std::copy_if(scores.begin(), scores.end(), std::back_inserter(run.scores),
                   [&](const Score& score) { return score.task == subject.task && score.target == subject.target; });
      found.runs.push_back(std::move(run));
    }
  } catch (const Error& error) {
    found.left_out.push_back(fmt::format("{}: {}", folder.string(), error.what()));
  } catch (const Json::exception& error) {
    found.left_out.push_back(fmt::format("{}: {}", folder.string(), error.what()));
  }
}

// "twin (another seed) 19.8, p < 0.001"
std::string best_of_kind(const ScoreTable& table, const std::vector<RowKind>& kinds) {
  std::vector<RowName> rows;
  for (const RowName& row : table.rows()) {
    const bool self = row.explainer == "self" && row.condition == "trained";
    if (!self && std::find(kinds.begin(), kinds.end(), row.kind) != kinds.end()) rows.push_back(row);
  }
  const RowName* best = best_row(table, rows, table.headline_metric());
  if (!best) return "–";
  const Score* score = table.find(*best, table.headline_metric());
  const std::string p = p_value(score->p_against_self);
  return fmt::format("{} {}{}", best->label, percent(score->value), p.empty() ? "" : ", " + p);
}

std::string escape_latex(const std::string& text) {
  static const std::map<std::string, std::string> kSpecial = {{"\\", "\\textbackslash{}"},
                                                              {"&", "\\&"},
                                                              {"%", "\\%"},
                                                              {"$", "\\$"},
                                                              {"#", "\\#"},
                                                              {"_", "\\_"},
                                                              {"{", "\\{"},
                                                              {"}", "\\}"},
                                                              {"~", "\\textasciitilde{}"},
                                                              {"^", "\\textasciicircum{}"}};
  std::string latex;
  for (const char letter : text) {
    const auto special = kSpecial.find(std::string(1, letter));
    latex += special == kSpecial.end() ? std::string(1, letter) : special->second;
  }
  for (const auto& [sign, command] :
       {std::pair<std::string, std::string>{"–", "--"}, {"−", "$-$"}, {"Δ", "$\\Delta$"}}) {
    for (size_t at = latex.find(sign); at != std::string::npos; at = latex.find(sign, at + command.size())) {
      latex.replace(at, sign.size(), command);
    }
  }
  return latex;
}

template <class Escape>
std::string line_of(const std::vector<std::string>& cells, const std::string& between, const Escape& escape) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i > 0 ? between : "") + escape(cells[i]);
  return line;
}

}  // namespace

FoundRuns find_runs(const fs::path& root) {
  if (!fs::is_directory(root)) fail("runs", fmt::format("no folder {}", root.string()), "name one that holds runs");
  FoundRuns found;
  for (auto entry = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied);
       entry != fs::recursive_directory_iterator(); ++entry) {
    if (!entry->is_directory()) continue;
    // the same answers scored against other labels are a table of their run (own_labels.h), no run
    if (entry->path().filename() == "own_labels") entry.disable_recursion_pending();
    if (!fs::exists(entry->path() / "run.json")) continue;
    if (fs::exists(entry->path() / "scores.json")) add_run(root, entry->path(), found);
  }
  if (fs::exists(root / "run.json") && fs::exists(root / "scores.json")) add_run(root, root, found);
  std::stable_sort(found.runs.begin(), found.runs.end(), [](const FoundRun& a, const FoundRun& b) {
    return std::pair(b.started, a.name) < std::pair(a.started, b.name);
  });
  std::sort(found.left_out.begin(), found.left_out.end());
  return found;
}

NamedTable index_table(const std::vector<FoundRun>& runs) {
  NamedTable table{"Runs, the newest first; times 100, with 95% intervals",
                   {"run", "task", "target", "metric", "self", "items", "best other explainer", "best floor", "made"},
                   {}};
  for (const FoundRun& run : runs) {
    const ScoreTable scores(run.scores, run.subject);
    const Score* self = scores.find("self", "trained", scores.headline_metric());
    table.lines.push_back({run.name, run.subject.task, run.subject.target, metric_label(scores.headline_metric()),
                           score_shown(self), self ? count(self->n) : "–", best_of_kind(scores, {RowKind::explainer}),
                           best_of_kind(scores, {RowKind::floor, RowKind::ablation}), run.started.substr(0, 10)});
  }
  return table;
}

NamedTable run_table(const FoundRun& run) {
  const ScoreTable scores(run.scores, run.subject);
  NamedTable table{
      fmt::format("{}: {}; times 100, with 95% intervals", run.name, task_title(run.subject.task, run.subject.target)),
      {"row"},
      {}};
  for (const std::string& metric : scores.metrics()) table.head.push_back(metric_label(metric));
  table.head.insert(table.head.end(), {"p against self", "items"});
  for (const RowName& row : scores.rows()) {
    std::vector<std::string> line = {row.label};
    for (const std::string& metric : scores.metrics()) line.push_back(score_shown(scores.find(row, metric)));
    const Score* first = scores.find(row, scores.headline_metric());
    line.push_back(first ? p_cell(first->p_against_self) : "");
    line.push_back(first ? count(first->n) : "");
    table.lines.push_back(std::move(line));
  }
  return table;
}

std::string table_csv(const NamedTable& table) {
  std::string text = line_of(table.head, ",", [](const std::string& cell) { return csv_field(cell); }) + "\n";
  for (const auto& line : table.lines) {
    text += line_of(line, ",", [](const std::string& cell) { return csv_field(cell); }) + "\n";
  }
  return text;
}

std::string table_markdown(const NamedTable& table) {
  const auto row = [](const std::vector<std::string>& cells) {
    return "| " + line_of(cells, " | ", [](const std::string& cell) { return escape_markdown(cell); }) + " |\n";
  };
  std::string text = row(table.head) + "|";
  for (size_t i = 0; i < table.head.size(); ++i) text += i == 0 ? "---|" : "---:|";
  text += "\n";
  for (const auto& line : table.lines) text += row(line);
  return text;
}

std::string table_latex(const NamedTable& table) {
  const auto row = [](const std::vector<std::string>& cells) {
    return line_of(cells, " & ", escape_latex) + " \\\\\n";
  };
  std::string text = fmt::format("\\begin{{table}}\n\\caption{{{}}}\n\\begin{{tabular}}{{l{}}}\n\\toprule\n",
                                 escape_latex(table.title), std::string(table.head.size() - 1, 'r'));
  text += row(table.head) + "\\midrule\n";
  for (const auto& line : table.lines) text += row(line);
  return text + "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
}

std::string index_page(const std::vector<FoundRun>& runs, const std::string& root) {
  std::string body = fmt::format(
      "<header>\n<div class=\"eyebrow\">introspect</div>\n<h1>What the runs in {} found</h1>\n<p "
      "class=\"question\">{}; each figure "
      "is "
      "that of the run's own page, with the command that made it.</p>\n</header>\n",
      escape_html(root), plural(std::ssize(runs), "result"));
  body += scrolling("Runs", named_tables({index_table(runs)}), "scroll broad");
  for (const FoundRun& run : runs) {
    const ScoreTable scores(run.scores, run.subject);
    body += fmt::format("<section>\n<h2>{}</h2>\n<p class=\"note\">{}{}</p>\n", escape_html(run.name),
                        escape_html(task_title(run.subject.task, run.subject.target)),
                        run.started.empty() ? "" : ", " + escape_html(run.started));
    if (!run.page.empty()) {
      body += fmt::format("<p><a href=\"{0}\">{0}</a></p>\n", escape_html(run.page.lexically_normal().string()));
    }
    body += row_figure(scores, scores.headline_metric()) + code_block(run.command) + "</section>\n";
  }
  return document_html("Runs in " + root, body);
}

}  // namespace introspect
