#include "report/figure.h"

#include "base/temporary_folder.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

const double kNone = std::nan("");

size_t occurrences(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Figure, AxisEnds) {
  EXPECT_EQ(axis_end({0.01, 0.04}), 0.05);
  EXPECT_EQ(axis_end({0.4}), 0.4);
  EXPECT_EQ(axis_end({0.401}), 0.6);
  EXPECT_EQ(axis_end({0.9}), 1);
  EXPECT_EQ(axis_end({}), 1);
}

// A bar is as long as its share of the axis, which is drawn from 250 to 664.
TEST(Figure, BarsHaveTheirLength) {
  BarFigure figure{"t", "d", {{"group", {{"first", 0.4, 0.3, kNone, "self"}, {"none", kNone, kNone, kNone, "floor"}}}}};
  const std::string svg = bar_figure(figure, FigureWidth::wide);
  EXPECT_TRUE(holds(svg, "<rect class=\"bar self\" x=\"250.0\""));
  EXPECT_TRUE(holds(svg, "width=\"414.0\" height=\"13.0\"/>"));
  EXPECT_EQ(occurrences(svg, "<rect"), 1u);
  EXPECT_EQ(occurrences(svg, "class=\"whisker\""), 0u);  // half an interval is none
  figure.groups[0].bars[0].high = 0.4;
  EXPECT_EQ(occurrences(bar_figure(figure, FigureWidth::wide), "class=\"whisker\""), 3u);
  figure.end = 0.8;
  EXPECT_TRUE(holds(bar_figure(figure, FigureWidth::wide), "width=\"207.0\" height=\"13.0\"/>"));
  EXPECT_TRUE(holds(bar_figure(figure, FigureWidth::narrow), "viewBox=\"0 0 340 "));
}

TEST(Figure, DotsAndLegend) {
  const DotFigure figure{"t", "d", {"self", "twin"}, {{"capital", {{0.5, 0.4, 0.6}, {kNone, kNone, kNone}}}}};
  const std::string svg = dot_figure(figure, FigureWidth::narrow);
  EXPECT_EQ(occurrences(svg, "dot first"), 2u);   // legend and value
  EXPECT_EQ(occurrences(svg, "dot second"), 1u);  // legend alone
  EXPECT_TRUE(holds(svg, ">50.0<"));
  EXPECT_TRUE(holds(svg, ">–<"));
}

TEST(Figure, HeatMapMarksEmptyCells) {
  const HeatMap map{"t", "d", {"block 0", "block 1"}, {{"subject <final>", {0.25, kNone}, {1200, 0}}}};
  const std::string svg = heat_map(map, FigureWidth::wide);
  EXPECT_TRUE(holds(svg, "fill-opacity=\"0.280\""));
  EXPECT_TRUE(holds(svg, ">of 1,200<"));
  EXPECT_EQ(occurrences(svg, "class=\"empty\""), 1u);
  EXPECT_TRUE(holds(svg, "subject &lt;final&gt;"));
  EXPECT_TRUE(holds(svg, "aria-label=\"t. d\""));
}

TEST(Figure, NothingToDrawIsDrawn) {
  for (const FigureWidth width : {FigureWidth::wide, FigureWidth::narrow}) {
    for (const std::string& svg : {bar_figure({}, width), dot_figure({}, width), heat_map({}, width)}) {
      EXPECT_TRUE(svg.starts_with("<svg ")) << svg;
      EXPECT_EQ(svg.find("nan"), std::string::npos);
      EXPECT_EQ(svg.find("inf"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace introspect
