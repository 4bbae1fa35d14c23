// Sections of a part's own: matrices with what stands in a cell, points, and where they stand on the page.
#include "base/temporary_folder.h"
#include "report/report.h"
#include "report/sections.h"

namespace introspect {
namespace {

OwnSection section() {
  MatrixTable matrix{"Patching: <content>", "target \\ explainer", "A note.", {"a", "b"}, {}};
  MatrixCell self, other, none;
  self.value = 0.5;
  self.low = 0.4;
  self.high = 0.6;
  self.self = true;
  other.value = 0.25;
  other.low = 0.2;
  other.high = 0.3;
  other.difference = -0.25;
  other.p = 0.0002;
  none.words = "no chat template";
  matrix.lines = {{"a", {self, other}}, {"b", {none, self}}};
  ScatterFigure figure;
  figure.title = "Score by likeness";
  figure.description = "A point is a pair.";
  figure.across = "likeness";
  figure.up = "score";
  figure.series = {{"self", {{1, 0.5, "a explained by a"}}},
                   {"others", {{0.2, 0.25, "b & a"}, {kNoFigure, 1, "lost"}}}};
  const CurveFigure curve{"Score by share",
                          "It falls.",
                          "wrong labels",
                          false,
                          {{"right", "self", {{0, .5, .4, .6}, {20, .3, .2, .4}, {80, .1, 0, .2}}}}};
  return {"Who explains whom", "All alike.", {curve}, {matrix}, {figure}, {{"A table", {"x", "y"}, {{"one", "two"}}}}};
}

TEST(OwnSections, CellsSayWhatIsInThem) {
  const std::string html = own_section(section());
  for (const char* part : {"<strong>50.0</strong>", "40.0 to 60.0", "25.0", "−25.0, p &lt; 0.001", "no chat template",
                           "Patching: &lt;content&gt;", "A note.", "A table", "<title>b &amp; a</title>"}) {
    EXPECT_TRUE(holds(html, part));
  }
  EXPECT_EQ(html.find("lost"), std::string::npos) << "a point without a number is not drawn";
  EXPECT_EQ(html.find("nan"), std::string::npos);
  const std::string markdown = own_section_markdown(section());
  EXPECT_TRUE(holds(markdown, "| **50.0 (40.0 to 60.0)** | 25.0 (20.0 to 30.0); −25.0, p "));
  EXPECT_TRUE(holds(markdown, "– (no chat template)"));
  EXPECT_TRUE(holds(markdown, "| one | two |"));
}

TEST(OwnSections, PointsStandWhereTheyBelong) {
  const ScatterFigure figure = section().scatters[0];
  for (const FigureWidth width : {FigureWidth::wide, FigureWidth::narrow}) {
    const std::string svg = scatter_figure(figure, width);
    EXPECT_TRUE(holds(svg, "Score by likeness"));
    // the first at the right end of its axis, half way up
    const double right = width == FigureWidth::wide ? 510 : 326;
    EXPECT_TRUE(holds(svg, fmt::format("cx=\"{:.1f}\" cy=\"172.0\"", right)));
  }
}

TEST(OwnSections, CurvesMayBeginAtZero) {
  const CurveFigure figure = section().curves[0];
  for (const FigureWidth width : {FigureWidth::wide, FigureWidth::narrow}) {
    const std::string svg = curve_figure(figure, width);
    const double right = width == FigureWidth::wide ? 510 : 326;
    // 0, 20 and 80 at a quarter of the way; the axis goes to 0.6
    EXPECT_TRUE(holds(svg, "cx=\"34.0\" cy=\"60.0\""));
    EXPECT_TRUE(holds(svg, fmt::format("cx=\"{:.1f}\"", 34 + (right - 34) / 4)));
    EXPECT_TRUE(holds(svg, fmt::format("cx=\"{:.1f}\" cy=\"252.0\"", right)));
  }
}

TEST(OwnSections, StandBehindTheAnswer) {
  ReportInput input;
  input.task = "matrix";
  input.title = "A title";
  input.answer = {"Yes."};
  input.sections = {section()};
  input.weak = {"Small."};
  const std::string html = report_html(input), markdown = report_markdown(input);
  for (const std::string& page : {html, markdown}) {
    EXPECT_LT(page.find("Yes."), page.find("Who explains whom"));
    EXPECT_LT(page.find("Who explains whom"), page.find("What is weak"));
  }
}

}  // namespace
}  // namespace introspect
