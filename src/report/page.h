// A part of a page as HTML, whole or as a chapter among others.
#pragma once

#include "report/report.h"

#include <set>
#include <string>
#include <vector>

namespace introspect {

// Identities of sections, each used once on a page.
class Anchors {
 public:
  // "all-scores" for "All scores"; "all-scores-2" if that is taken.
  std::string of(const std::string& title);

 private:
  std::set<std::string> taken_;
};

struct ChapterPlace {
  int number = 0, count = 1;  // of several; number 0: the page is this part alone
  std::string anchor;         // of the chapter; empty if it is alone
  std::string command;        // of the page: not shown again in a chapter
  bool alone() const { return number == 0; }
  int level() const { return alone() ? 1 : 2; }  // of the part's title; its sections are one below
};

// Title, question, answer and all sections.
std::string part_html(const ReportInput& input, const ChapterPlace& place, Anchors& anchors);
// The whole document.
std::string document_html(const std::string& title, const std::string& body);
std::string code_block(const std::string& command);

// The sentences that stand under the part's question: whether it is valid, then its own answer, else one made of its
// scores where they are of one task and target.
std::vector<std::string> answer_of(const ReportInput& input);
// The first of them, or of its first scores' sentences; empty if there is nothing.
std::string first_sentence(const ReportInput& input);
// "input ablation": the task's name, else the title. Anchors are made of it.
std::string part_name(const ReportInput& input);
// The first part, with the head's words where it has none. Throws Error without a part.
ReportInput only_part(const std::vector<ReportInput>& parts, const PageHead& head);

}  // namespace introspect
