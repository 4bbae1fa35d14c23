// A page of several parts.
#include "base/temporary_folder.h"
#include "report/report.h"
#include "report/sample_ablation.h"
#include "report/sample_report.h"
#include "report/words.h"

#include <regex>
#include <set>

#include <gtest/gtest.h>

namespace introspect {
namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::vector<std::string> found_by(const std::string& text, const std::string& pattern) {
  std::vector<std::string> found;
  const std::regex regex(pattern);
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) found.push_back((*at)[1]);
  return found;
}

std::vector<ReportInput> two_parts() {
  return {sample_report(), sample_ablation()};
}

TEST(Parts, EachIsAChapterAndLinked) {
  const std::string html = report_html(two_parts(), sample_head());
  EXPECT_EQ(html, report_html(two_parts(), sample_head()));
  EXPECT_EQ(occurrences(html, "<h1>"), 1u);
  EXPECT_TRUE(holds(html, "<h1>Can a small model explain itself?</h1>"));
  EXPECT_TRUE(holds(html, "<title>Can a small model explain itself?</title>"));
  for (const ReportInput& input : two_parts()) {
    EXPECT_EQ(occurrences(html, "<h2>" + escape_html(input.title) + "</h2>"), 1u);
    EXPECT_EQ(occurrences(html, "<p class=\"question\">" + escape_html(input.question) + "</p>"), 1u);
  }
  EXPECT_TRUE(holds(html, "Part 1 of 2 · activation patching of tiny-llama"));
  EXPECT_TRUE(holds(html, "Part 2 of 2 · input ablation of tiny-chat"));
  // the list of parts tells what came out
  EXPECT_TRUE(holds(html,
                    "<li><a href=\"#input-ablation\">A small model says what a hint did to its answer</a><p>On the 602 "
                    "test items whose answer changes when the hint is taken away, tiny-chat"));
  EXPECT_TRUE(holds(html, "<li><a href=\"#activation-patching\">A small model explains its own activations</a><p>On "));
  // sections stand one level below their chapter
  EXPECT_EQ(occurrences(html, "<h3>All scores</h3>"), 2u);
  EXPECT_EQ(occurrences(html, "<h2>All scores</h2>"), 0u);
  EXPECT_TRUE(holds(html, "<h4>Settings</h4>"));
  EXPECT_EQ(occurrences(html, "<figure>"), occurrences(html, "<figcaption>"));
}

TEST(Parts, IdentitiesAreUniqueAndLinksArrive) {
  std::vector<ReportInput> parts = two_parts();
  parts.push_back(sample_ablation());  // the same task once more
  const std::string html = report_html(parts, sample_head());
  const std::vector<std::string> ids = found_by(html, " id=\"([^\"]*)\"");
  const std::set<std::string> unique(ids.begin(), ids.end());
  EXPECT_EQ(unique.size(), ids.size());
  EXPECT_GT(ids.size(), 25u);
  EXPECT_TRUE(unique.count("input-ablation-all-scores"));
  EXPECT_TRUE(unique.count("input-ablation-2-all-scores"));
  for (const std::string& link : found_by(html, "href=\"([^\"]*)\"")) {
    ASSERT_TRUE(link.starts_with("#")) << link;
    EXPECT_TRUE(unique.count(link.substr(1))) << link;
  }
}

// The filters act on the articles of the section they stand in.
TEST(Parts, FiltersAndTheirExamplesShareASection) {
  const std::string html = report_html(two_parts(), sample_head());
  EXPECT_TRUE(holds(html, "filters.closest(\"section\").querySelectorAll(\"article\")"));
  EXPECT_TRUE(holds(html, "for (const filters of document.querySelectorAll(\".filters\"))"));
  std::vector<size_t> articles;
  for (size_t at = html.find("<section id="); at != std::string::npos; at = html.find("<section id=", at + 1)) {
    const std::string section = html.substr(at, html.find("</section>", at) - at);
    EXPECT_EQ(section.find("<section", 1), std::string::npos);  // no section in it, so that "closest" is this one
    if (section.find("class=\"filters\"") == std::string::npos) {
      EXPECT_EQ(occurrences(section, "<article "), 0u);
    } else {
      articles.push_back(occurrences(section, "<article "));
    }
  }
  EXPECT_EQ(articles, (std::vector<size_t>{30, 20}));
}

TEST(Parts, CommandsAreShownOnceEach) {
  std::vector<ReportInput> parts = two_parts();
  parts[1].command = "introspect run recipes/hints.toml";
  const std::string html = report_html(parts, sample_head());
  EXPECT_EQ(occurrences(html, "introspect demo --full --out runs/demo"), 1u);
  EXPECT_EQ(occurrences(html, "introspect run recipes/hints.toml"), 1u);
  EXPECT_EQ(occurrences(html, "<h2>How to run all of it again</h2>"), 1u);
  EXPECT_EQ(occurrences(html, "<h3>How to run it again</h3>"), 1u);
  EXPECT_EQ(occurrences(html, "<h3>Settings and versions</h3>"), 1u);
  const std::string markdown = report_markdown(parts, sample_head());
  EXPECT_EQ(occurrences(markdown, "introspect demo --full --out runs/demo"), 1u);
  EXPECT_EQ(occurrences(markdown, "introspect run recipes/hints.toml"), 1u);
}

TEST(Parts, OnePartIsThePageItIsAlone) {
  ReportInput part = sample_report();
  EXPECT_EQ(report_html({part}, sample_head()), report_html(part));
  EXPECT_EQ(report_markdown({part}, sample_head()), report_markdown(part));
  part.title.clear();
  part.command.clear();
  EXPECT_TRUE(holds(report_html({part}, sample_head()), "<h1>Can a small model explain itself?</h1>"));
  EXPECT_TRUE(holds(report_markdown({part}, sample_head()), "introspect demo --full"));
  EXPECT_TRUE(holds(error_of([] { report_html(std::vector<ReportInput>{}, {}); }), "got 0, expected 1 or more"));
  EXPECT_TRUE(holds(error_of([] { report_markdown(std::vector<ReportInput>{}, {}); }), "got 0, expected 1 or more"));
}

TEST(Parts, MarkdownHasChapters) {
  const std::string markdown = report_markdown(two_parts(), sample_head());
  EXPECT_TRUE(markdown.starts_with("# Can a small model explain itself?\n\n_Two questions"));
  EXPECT_EQ(occurrences("\n" + markdown, "\n# "), 1u);
  EXPECT_EQ(occurrences(markdown, "\n## "), 3u);  // two chapters and the command
  EXPECT_TRUE(holds(markdown, "- [A small model explains its own activations](#activation-patching): On the"));
  EXPECT_TRUE(holds(markdown, "<a id=\"activation-patching\"></a>\n\n## A small model explains its own activations\n"));
  EXPECT_TRUE(holds(markdown, "\n### Scores: input ablation of tiny-chat\n"));
  EXPECT_EQ(occurrences(markdown, "\n### What is weak\n"), 2u);
}

TEST(Parts, FilesHoldAllParts) {
  TemporaryFolder folder;
  write_report(two_parts(), sample_head(), folder / "page");
  EXPECT_EQ(read_text(folder / "page" / "report.html"), report_html(two_parts(), sample_head()));
  EXPECT_EQ(read_text(folder / "page" / "report.md"), report_markdown(two_parts(), sample_head()));
  const std::string csv = read_text(folder / "page" / "scores.csv");
  EXPECT_EQ(occurrences(csv, "\n"), sample_report().scores.size() + sample_ablation().scores.size() + 1);
  EXPECT_EQ(occurrences(csv, "task,target"), 1u);
  EXPECT_TRUE(holds(csv, "\nactivation patching,tiny-llama,twin,trained,"));
  EXPECT_TRUE(holds(csv, "\nablation,tiny-chat,twin,trained,"));
}

TEST(Parts, WhatIsSaidOfThemIsText) {
  const std::string evil = "<script>alert('x')</script>\"&|";
  std::vector<ReportInput> parts = two_parts();
  for (ReportInput& input : parts) {
    input.title = input.task = input.invalid_because = evil;
    input.valid = false;
    input.gates = {{evil, .5, .2, .8, false, 10}};
    input.hints = {{evil, evil, 10, .5, .5, .5, 10}};
    input.generalisation = {{evil, evil, evil, evil, evil, .5, .4, .6, 10, true}};
    for (Score& score : input.scores) score.target = evil;
    for (BrowsedExample& example : input.examples) {
      example.wording = example.subject = example.token = evil;
      example.input = "before " + evil + " behind";
    }
  }
  const PageHead head{evil, evil, evil};
  const std::string html = report_html(parts, head);
  EXPECT_EQ(occurrences(html, "<script>"), 1u);
  EXPECT_EQ(html.find("alert('"), std::string::npos);
  for (const std::string& id : found_by(html, " id=\"([^\"]*)\"")) {
    EXPECT_EQ(id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos) << id;
  }
  EXPECT_EQ(occurrences(report_markdown(parts, head), "<script>"), 1u);  // in the command's code block
}

}  // namespace
}  // namespace introspect
