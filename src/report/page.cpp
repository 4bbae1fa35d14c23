#include "report/page.h"

#include "base/error.h"
#include "report/headline.h"
#include "report/page_style.h"
#include "report/sections.h"
#include "report/words.h"

#include <fmt/format.h>

namespace introspect {

namespace {

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

std::string answer_block(const std::vector<std::string>& sentences, const std::string& style = "answer") {
  return sentences.empty() ? "" : "<div class=\"" + style + "\">\n" + paragraphs(sentences) + "</div>\n";
}

// Writes the sections of one part, at its level and under anchors of its own.
class PartWriter {
 public:
  PartWriter(const ReportInput& input, const ChapterPlace& place, Anchors& anchors)
      : input_(input), place_(place), anchors_(anchors), words_(words_of(task_of(task_name(input)))) {}

  std::string head() const;
  std::string scores();
  std::string target_and_data();
  std::string how_to_run();

 private:
  std::string section(const std::string& title, const std::string& lead, const std::string& body) {
    if (body.empty()) return "";
    const std::string anchor = anchors_.of(place_.alone() ? title : place_.anchor + " " + title);
    return fmt::format("<section id=\"{}\">\n<h{}>{}</h{}>\n{}{}</section>\n", anchor, place_.level() + 1,
                       escape_html(title), place_.level() + 1, lead.empty() ? "" : "<p>" + escape_html(lead) + "</p>\n",
                       body);
  }
  std::string named_values_under(const std::string& title, const NamedValues& values) const {
    if (values.empty()) return "";
    return fmt::format("<h{0}>{1}</h{0}>\n{2}", place_.level() + 2, title, named_values(values));
  }
  // The scores of one pair of task and target; `name` stands in the titles if there are several.
  std::string score_sections(const ScoreTable& table, const std::string& name);

  const ReportInput& input_;
  const ChapterPlace& place_;
  Anchors& anchors_;
  const TaskWords& words_;
};

std::string PartWriter::head() const {
  const std::vector<Subject> subjects = subjects_of(input_.scores);
  std::string eyebrow = place_.alone() ? "introspect" : fmt::format("Part {} of {}", place_.number, place_.count);
  if (subjects.size() == 1) {
    const std::string name = task_title(subjects[0].task, subjects[0].target);
    if (!name.empty()) eyebrow += " · " + name;
  }
  std::string html = fmt::format("<header>\n<div class=\"eyebrow\">{0}</div>\n<h{1}>{2}</h{1}>\n", escape_html(eyebrow),
                                 place_.level(), escape_html(input_.title));
  if (!input_.question.empty()) html += "<p class=\"question\">" + escape_html(input_.question) + "</p>\n";
  return html + answer_block(answer_of(input_), input_.valid ? "answer" : "answer invalid") + "</header>\n";
}

std::string PartWriter::score_sections(const ScoreTable& table, const std::string& name) {
  const std::string behind = name.empty() ? "" : ": " + name;
  std::string html;
  for (const std::string& metric : table.headline_metrics()) {
    const bool first = metric == table.headline_metric();
    html += section(
        capitalised(metric_label(metric)) + behind, "",
        (first && !name.empty() ? answer_block(headline_sentences(table, input_)) : "") + row_figure(table, metric));
  }
  html += section("All scores" + behind, "Times 100, with 95% intervals; p from paired permutation tests against self.",
                  score_table(table) + comparison_table(input_, table));
  html += section("The other metrics" + behind, "", metric_figures(table, place_.level() + 2));
  html += section(table.words().group_title + behind, "", group_figure(table) + group_tables(table));
  return html;
}

std::string PartWriter::scores() {
  const std::vector<Subject> subjects = subjects_of(input_.scores);
  std::string html;
  for (const OwnSection& own : input_.sections) html += section(own.title, own.lead, own_section(own));
  for (const Subject& subject : subjects) {
    const std::string name = subjects.size() > 1 ? task_title(subject.task, subject.target) : "";
    html += score_sections(ScoreTable(input_.scores, subject), name);
  }
  html += section("How little data is enough",
                  "Trained on fewer and fewer examples, in as many steps each. Times 100, with 95% intervals.",
                  scaling_section(input_));
  return html + section("Generalisation",
                        "Explainers that were trained on a part, asked about what they never saw. Times 100, with 95% "
                        "intervals.",
                        generalisation_table(input_));
}

std::string PartWriter::target_and_data() {
  std::string html = section("How far hints move the answer",
                             "What the target does with each wording of the hint, before any explainer is trained. "
                             "Times 100, with Wilson's 95% intervals over questions.",
                             hint_table(input_));
  html += section("Where a patch changes the answer", "", cell_map(input_));
  html += section(fmt::format("{} to look at", plural(std::ssize(input_.examples), "example")),
                  words_.drawn_how + " " + words_.right_means, example_browser(input_));
  html += section("The data", "",
                  named_values(input_.facts) + gate_table(input_) + cell_table(input_) + named_tables(input_.tables));
  return html + section("What is weak", "", list(input_.weak));
}

std::string PartWriter::how_to_run() {
  const bool own = !input_.command.empty() && input_.command != place_.command;
  return section(place_.alone() || own ? "How to run it again" : "Settings and versions", "",
                 (own ? code_block(input_.command) : "") + named_values_under("Settings", input_.settings) +
                     named_values_under("Versions", input_.versions));
}

}  // namespace

std::string Anchors::of(const std::string& title) {
  std::string anchor;
  for (const char letter : title) {
    const bool capital = letter >= 'A' && letter <= 'Z';
    const bool kept = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    anchor += capital ? static_cast<char>(letter - 'A' + 'a') : kept ? letter : '-';
  }
  std::string free = anchor;
  for (int number = 2; !taken_.insert(free).second; ++number) free = fmt::format("{}-{}", anchor, number);
  return free;
}

std::string task_name(const ReportInput& input) {
  return !input.task.empty() || input.scores.empty() ? input.task : input.scores.front().task;
}

std::string part_name(const ReportInput& input) {
  const std::string task = task_title(task_name(input), "");
  return task.empty() ? input.title : task;
}

ReportInput only_part(const std::vector<ReportInput>& parts, const PageHead& head) {
  if (parts.empty()) fail("report", "parts of the page: got 0, expected 1 or more");
  ReportInput input = parts[0];
  if (input.title.empty()) input.title = head.title;
  if (input.question.empty()) input.question = head.question;
  if (input.command.empty()) input.command = head.command;
  return input;
}

std::vector<std::string> answer_of(const ReportInput& input) {
  std::vector<std::string> answer = validity_sentences(input);
  const std::vector<Subject> subjects = subjects_of(input.scores);
  const bool from_scores = input.answer.empty() && subjects.size() == 1;
  const std::vector<std::string> sentences =
      from_scores ? headline_sentences(ScoreTable(input.scores, subjects[0]), input) : input.answer;
  answer.insert(answer.end(), sentences.begin(), sentences.end());
  return answer;
}

std::string first_sentence(const ReportInput& input) {
  if (const std::vector<std::string> answer = answer_of(input); !answer.empty()) return answer.front();
  const std::vector<Subject> subjects = subjects_of(input.scores);
  return subjects.empty() ? "" : headline_sentences(ScoreTable(input.scores, subjects[0]), input).front();
}

std::string part_html(const ReportInput& input, const ChapterPlace& place, Anchors& anchors) {
  PartWriter writer(input, place, anchors);
  const std::string head = writer.head();
  const std::string scores = writer.scores();
  const std::string data = writer.target_and_data();
  return head + scores + data + writer.how_to_run();
}

std::string code_block(const std::string& command) {
  return command.empty() ? "" : "<pre><code>" + escape_html(command) + "</code></pre>\n";
}

std::string document_html(const std::string& title, const std::string& body) {
  // No file, font or script may come from elsewhere, and the page says so to the browser.
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n{}</main>\n"
      "<script>{}</script>\n</body>\n</html>\n",
      escape_html(title), kPageStyle, body, kPageScript);
}

}  // namespace introspect
