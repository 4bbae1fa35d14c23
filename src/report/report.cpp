#include "report/report.h"

#include "base/error.h"
#include "base/files.h"
#include "report/headline.h"
#include "report/page_style.h"
#include "report/sections.h"
#include "report/words.h"

#include <fmt/format.h>

namespace introspect {

namespace {

std::string section(const std::string& title, const std::string& lead, const std::string& body) {
  if (body.empty()) return "";
  std::string anchor;  // "all-scores"
  for (const char letter : title) {
    const bool capital = letter >= 'A' && letter <= 'Z';
    const bool kept = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    anchor += capital ? static_cast<char>(letter - 'A' + 'a') : kept ? letter : '-';
  }
  return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}{}</section>\n", anchor, escape_html(title),
                     lead.empty() ? "" : "<p>" + escape_html(lead) + "</p>\n", body);
}

std::string list(const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string html = "<ul class=\"plain\">\n";
  for (const std::string& item : items) html += "<li>" + escape_html(item) + "</li>\n";
  return html + "</ul>\n";
}

std::string paragraphs(const std::vector<std::string>& sentences) {
  std::string html;
  for (const std::string& sentence : sentences) html += "<p>" + escape_html(sentence) + "</p>\n";
  return html;
}

std::string named_section(const std::string& title, const NamedValues& values) {
  return values.empty() ? "" : "<h3>" + title + "</h3>\n" + named_values(values);
}

// The scores of one pair of task and target; `name` stands in the titles if there are several.
std::string score_sections(const ReportInput& input, const ScoreTable& table, const std::string& name) {
  const std::string behind = name.empty() ? "" : ": " + name;
  const std::string title = capitalised(metric_label(table.headline_metric()));
  const std::string answer =
      name.empty() ? "" : "<div class=\"answer\">\n" + paragraphs(headline_sentences(table)) + "</div>\n";
  std::string html = section(title + behind, "", answer + headline_figure(table));
  html += section("All scores" + behind, "Times 100, with 95% intervals; p from paired permutation tests against self.",
                  score_table(table) + comparison_table(input, table));
  html += section("The other metrics" + behind, "", metric_figures(table));
  html += section("By relation and place" + behind, "", relation_figure(table) + group_tables(table));
  return html;
}

}  // namespace

std::string report_html(const ReportInput& input) {
  const std::vector<Subject> subjects = subjects_of(input.scores);
  std::vector<std::string> answer = input.answer;
  std::string eyebrow = "introspect";
  std::string scores;
  for (const Subject& subject : subjects) {
    const ScoreTable table(input.scores, subject);
    const std::string name = subject.target.empty() ? subject.task : subject.task + " of " + subject.target;
    if (subjects.size() == 1 && !name.empty()) eyebrow += " · " + name;
    if (subjects.size() == 1 && answer.empty()) answer = headline_sentences(table);
    scores += score_sections(input, table, subjects.size() > 1 ? name : "");
  }

  // No file, font or script may come from elsewhere, and the page says so to the browser.
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<header>\n"
      "<div class=\"eyebrow\">{}</div>\n<h1>{}</h1>\n",
      escape_html(input.title), kPageStyle, escape_html(eyebrow), escape_html(input.title));
  if (!input.question.empty()) html += "<p class=\"question\">" + escape_html(input.question) + "</p>\n";
  if (!answer.empty()) html += "<div class=\"answer\">\n" + paragraphs(answer) + "</div>\n";
  html += "</header>\n" + scores;
  html += section("Where a patch changes the answer", "", cell_map(input));
  html +=
      section(fmt::format("{} to look at", plural(static_cast<int64_t>(input.examples.size()), "example")),
              "Drawn at random from the test items, half of them changed. An answer counts as right if it names what "
              "the target says.",
              example_browser(input));
  html += section("The data", "", named_values(input.facts) + cell_table(input));
  html += section("What is weak", "", list(input.weak));
  html += section("How to run it again", "",
                  (input.command.empty() ? "" : "<pre><code>" + escape_html(input.command) + "</code></pre>\n") +
                      named_section("Settings", input.settings) + named_section("Versions", input.versions));
  return html + fmt::format("</main>\n<script>{}</script>\n</body>\n</html>\n", kPageScript);
}

void write_report(const ReportInput& input, const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) fail("report", fmt::format("cannot make the folder {}: {}", folder.string(), failure.message()));
  write_text(folder / "scores.csv", scores_csv(input.scores));
  write_text(folder / "report.md", report_markdown(input));
  write_text(folder / "report.html", report_html(input));
}

}  // namespace introspect
