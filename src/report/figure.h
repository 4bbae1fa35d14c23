// Figures as SVG, made by hand: the same numbers give the same bytes. Colours are CSS classes of the page
// (page_style.cpp), so that dark mode needs no second picture. Each figure is drawn twice, wide and narrow, and the
// page shows the one that fits: text in a figure that shrinks with the window cannot be read on a phone.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace introspect {

constexpr double kNoFigure = std::numeric_limits<double>::quiet_NaN();

enum class FigureWidth { wide, narrow };  // 720 and 340 units

struct Bar {
  std::string label;
  double value = 0, low = 0, high = 0;  // shares; NaN: not drawn, shown as a dash
  std::string style;                    // "self", "explainer", "ablation", "simulation", "floor": CSS classes
};
struct BarGroup {
  std::string title;  // may be empty
  std::vector<Bar> bars;
};
struct BarFigure {
  std::string title, description;  // for readers who cannot see it
  std::vector<BarGroup> groups;
  double end = 0;  // of the axis; 0: as the figures need
};
// Horizontal bars from zero with interval whiskers and their value times 100.
std::string bar_figure(const BarFigure& figure, FigureWidth width);

struct Dot {
  double value = 0, low = 0, high = 0;
};
struct DotFigure {
  std::string title, description;
  std::vector<std::string> series;  // two at most: a filled circle and an open diamond
  struct Line {
    std::string label;
    std::vector<Dot> dots;  // one a series
  };
  std::vector<Line> lines;
};
// One line a label, with each series' value and whiskers on it.
std::string dot_figure(const DotFigure& figure, FigureWidth width);

struct HeatMap {
  std::string title, description;
  std::vector<std::string> columns;
  struct Line {
    std::string label;
    std::vector<double> shares;   // one a column; NaN: empty
    std::vector<int64_t> counts;  // of what the share is
  };
  std::vector<Line> lines;
};
std::string heat_map(const HeatMap& map, FigureWidth width);

// How a score changes with something that is counted.
struct CurveFigure {
  std::string title, description;
  std::string counted;      // what the horizontal axis counts: "train features"
  bool logarithmic = true;  // that axis
  struct Point {
    double count = 0;  // above 0 on a logarithmic axis
    double value = 0, low = 0, high = 0;
  };
  struct Series {
    std::string label, style;  // "self", "explainer", "floor": CSS classes
    std::vector<Point> points;
  };
  std::vector<Series> series;
};
std::string curve_figure(const CurveFigure& figure, FigureWidth width);

// Points of two numbers, one kind of mark a series.
struct ScatterFigure {
  std::string title, description;
  std::string across, up;                           // what the axes measure
  double left = 0, right = 1, bottom = 0, top = 1;  // ends of the axes
  struct Point {
    double x = 0, y = 0;
    std::string label;  // shown when pointed at
  };
  struct Series {
    std::string label;
    std::vector<Point> points;
  };
  std::vector<Series> series;
};
std::string scatter_figure(const ScatterFigure& figure, FigureWidth width);

// The end of an axis that holds every share: 0.05, 0.1, 0.2, 0.4, 0.6, 0.8 or 1.
double axis_end(const std::vector<double>& shares);

}  // namespace introspect
