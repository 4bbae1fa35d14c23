#include "report/report.h"

#include "base/error.h"
#include "base/files.h"
#include "report/page.h"
#include "report/words.h"

#include <fmt/format.h>

namespace introspect {

namespace {

void write_files(const fs::path& folder, const std::vector<Score>& scores, const std::string& markdown,
                 const std::string& html) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) fail("report", fmt::format("cannot make the folder {}: {}", folder.string(), failure.message()));
  write_text(folder / "scores.csv", scores_csv(scores));
  write_text(folder / "report.md", markdown);
  write_text(folder / "report.html", html);
}

}  // namespace

std::string report_html(const ReportInput& input) {
  Anchors anchors;
  return document_html(input.title, part_html(input, {}, anchors));
}

std::string report_html(const std::vector<ReportInput>& parts, const PageHead& head) {
  if (parts.size() < 2) return report_html(only_part(parts, head));
  Anchors anchors;
  std::string body = fmt::format("<header id=\"{}\">\n<div class=\"eyebrow\">introspect</div>\n<h1>{}</h1>\n",
                                 anchors.of("parts"), escape_html(head.title));
  if (!head.question.empty()) body += "<p class=\"question\">" + escape_html(head.question) + "</p>\n";
  body += "<nav aria-label=\"Parts\">\n<ol class=\"parts\">\n";
  std::string chapters;
  for (size_t i = 0; i < parts.size(); ++i) {
    const ChapterPlace place{static_cast<int>(i + 1), static_cast<int>(parts.size()), anchors.of(part_name(parts[i])),
                             head.command};
    body += fmt::format("<li{}><a href=\"#{}\">{}</a><p>{}</p></li>\n", parts[i].valid ? "" : " class=\"invalid\"",
                        place.anchor, escape_html(parts[i].title), escape_html(first_sentence(parts[i])));
    chapters += fmt::format(
        "<section class=\"chapter\" id=\"{}\">\n{}<p class=\"next\"><a href=\"#parts\">All parts</a></p>\n"
        "</section>\n",
        place.anchor, part_html(parts[i], place, anchors));
  }
  body += "</ol>\n</nav>\n</header>\n" + chapters;
  if (!head.command.empty()) {
    body += fmt::format("<section id=\"{}\">\n<h2>How to run all of it again</h2>\n{}</section>\n",
                        anchors.of("run again"), code_block(head.command));
  }
  return document_html(head.title, body);
}

void write_report(const ReportInput& input, const fs::path& folder) {
  write_files(folder, input.scores, report_markdown(input), report_html(input));
}

void write_report(const std::vector<ReportInput>& parts, const PageHead& head, const fs::path& folder) {
  std::vector<Score> scores;
  for (const ReportInput& input : parts) scores.insert(scores.end(), input.scores.begin(), input.scores.end());
  write_files(folder, scores, report_markdown(parts, head), report_html(parts, head));
}

}  // namespace introspect
