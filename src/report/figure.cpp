#include "report/figure.h"

#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

// Where things stand; all lengths in units of the view box, which are CSS pixels at full size.
struct Layout {
  double width, left, right;  // of the picture; of the plot
  bool above;                 // labels stand above their bars, not left of them
};

Layout layout_of(FigureWidth width) {
  return width == FigureWidth::wide ? Layout{720, 250, 664, false} : Layout{340, 0, 292, true};
}

std::string text_at(double x, double y, const std::string& style, const std::string& text,
                    const std::string& anchor = "start") {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", style, x, y, anchor,
                     escape_html(text));
}

std::string line_at(const std::string& style, double x1, double y1, double x2, double y2) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", style, x1, y1,
                     x2, y2);
}

std::string rectangle(const std::string& style, double x, double y, double width, double height,
                      const std::string& more = "") {
  return fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"{}/>\n", style, x,
                     y, width, height, more);
}

std::string picture(const Layout& layout, double height, const std::string& title, const std::string& description,
                    const std::string& body) {
  return fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" role=\"img\" aria-label=\"{}. "
      "{}\">\n{}</svg>\n",
      layout.width, height, layout.width, height, escape_html(title), escape_html(description), body);
}

struct Axis {
  Layout layout;
  double end;
  double place(double share) const {
    return layout.left + (layout.right - layout.left) * std::clamp(share / end, 0.0, 1.0);
  }
  // Grid lines from `top` to `bottom`, numbers under them.
  std::string grid(double top, double bottom) const {
    std::string body;
    const int steps = end == 0.6 ? 3 : end == 0.05 || end == 1 ? 5 : 4;
    for (int step = 0; step <= steps; ++step) {
      const double share = end * step / steps;
      body += line_at(step == 0 ? "axis" : "grid", place(share), top, place(share), bottom);
      body += text_at(place(share), bottom + 16, "tick", fmt::format("{:g}", std::round(share * 100)),
                      layout.above && step == 0 ? "start" : "middle");
    }
    return body;
  }
  // A whisker with its two caps.
  std::string whisker(double low, double high, double y, double cap, const std::string& style) const {
    if (!std::isfinite(low) || !std::isfinite(high)) return "";
    return line_at(style, place(low), y, place(high), y) + line_at(style, place(low), y - cap, place(low), y + cap) +
           line_at(style, place(high), y - cap, place(high), y + cap);
  }
};

void add_if_number(std::vector<double>& shares, double value) {
  if (std::isfinite(value)) shares.push_back(value);
}

}  // namespace

double axis_end(const std::vector<double>& shares) {
  const double largest = shares.empty() ? 1 : *std::max_element(shares.begin(), shares.end());
  for (const double end : {0.05, 0.1, 0.2, 0.4, 0.6, 0.8}) {
    if (largest <= end) return end;
  }
  return 1;
}

std::string bar_figure(const BarFigure& figure, FigureWidth width) {
  std::vector<double> shares;
  for (const BarGroup& group : figure.groups) {
    for (const Bar& bar : group.bars) {
      add_if_number(shares, bar.value);
      add_if_number(shares, bar.high);
    }
  }
  const Axis axis{layout_of(width), figure.end > 0 ? figure.end : axis_end(shares)};
  const bool above = axis.layout.above;
  const double thick = 13, row = above ? 41 : 27;
  double y = 4;
  std::string bars;
  for (const BarGroup& group : figure.groups) {
    if (!group.title.empty()) {
      bars += text_at(0, y + 15, "group", group.title);
      y += above ? 26 : 25;
    }
    for (const Bar& bar : group.bars) {
      const double middle = above ? y + 27 : y + row / 2;
      bars += text_at(0, above ? y + 14 : middle + 4.5, "label " + bar.style, bar.label);
      if (std::isfinite(bar.value)) {
        bars += rectangle("bar " + bar.style, axis.layout.left, middle - thick / 2,
                          axis.place(bar.value) - axis.layout.left, thick);
      }
      bars += axis.whisker(bar.low, bar.high, middle, 4, "whisker");
      bars += text_at(axis.layout.width, middle + 4.5, "value " + bar.style, percent(bar.value), "end");
      y += row;
    }
    y += 10;
  }
  return picture(axis.layout, y + 20, figure.title, figure.description, axis.grid(2, y - 4) + bars);
}

std::string dot_figure(const DotFigure& figure, FigureWidth width) {
  std::vector<double> shares;
  for (const DotFigure::Line& line : figure.lines) {
    for (const Dot& dot : line.dots) {
      add_if_number(shares, dot.value);
      add_if_number(shares, dot.high);
    }
  }
  const Axis axis{layout_of(width), axis_end(shares)};
  const bool above = axis.layout.above;
  const double row = above ? 50 : 32;
  std::string body;
  // the legend, in the words the text uses
  double x = axis.layout.left + 6;
  const auto mark = [](size_t series, double at, double y) {
    if (series == 0) return fmt::format("<circle class=\"dot first\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/>\n", at, y);
    return fmt::format("<path class=\"dot second\" d=\"M{:.1f} {:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z\"/>\n", at, y - 5.5);
  };
  for (size_t s = 0; s < figure.series.size(); ++s) {
    body += mark(s, x, 12) + text_at(x + 12, 16.5, "label", figure.series[s]);
    x += 40 + 7.2 * static_cast<double>(figure.series[s].size());
  }
  double y = 30;
  const double top = y;
  for (const DotFigure::Line& line : figure.lines) {
    const double middle = above ? y + 31 : y + row / 2;
    body += text_at(0, above ? y + 14 : middle + 4.5, "label", line.label);
    for (size_t s = 0; s < line.dots.size(); ++s) {
      const Dot& dot = line.dots[s];
      const double height = middle + (s == 0 ? -5.5 : 6.5);
      body += axis.whisker(dot.low, dot.high, height, 3, s == 0 ? "whisker first" : "whisker second");
      if (std::isfinite(dot.value)) body += mark(s, axis.place(dot.value), height);
    }
    // the first series' value stands at the end of its line
    if (!line.dots.empty()) {
      body += text_at(axis.layout.width, middle + (line.dots.size() > 1 ? -1.5 : 4.5), "value",
                      percent(line.dots[0].value), "end");
    }
    if (line.dots.size() > 1) {
      body += text_at(axis.layout.width, middle + 11.5, "value second", percent(line.dots[1].value), "end");
    }
    y += row;
  }
  return picture(axis.layout, y + 28, figure.title, figure.description, axis.grid(top, y + 4) + body);
}

std::string curve_figure(const CurveFigure& figure, FigureWidth width) {
  std::vector<double> shares, counts;
  for (const CurveFigure::Series& series : figure.series) {
    for (const CurveFigure::Point& point : series.points) {
      add_if_number(shares, point.value);
      add_if_number(shares, point.high);
      if (std::find(counts.begin(), counts.end(), point.count) == counts.end()) counts.push_back(point.count);
    }
  }
  if (counts.empty()) return "";
  std::sort(counts.begin(), counts.end());
  const double end = axis_end(shares), full = width == FigureWidth::wide ? 720 : 340;
  const double left = 34, right = full - (width == FigureWidth::wide ? 210 : 14);
  const double height = 300, top = 12;
  const auto place = [&](double count) { return figure.logarithmic ? std::log(count) : count; };
  const double first = place(counts.front()), span = place(counts.back()) - first;
  const auto across = [&](double count) {
    return span > 0 ? left + (right - left) * (place(count) - first) / span : (left + right) / 2;
  };
  const auto up = [&](double share) { return height - (height - top) * std::clamp(share / end, 0.0, 1.0); };
  std::string body;
  for (int step = 0; step <= 4; ++step) {
    const double share = end * step / 4;
    body += line_at(step == 0 ? "axis" : "grid", left, up(share), right, up(share));
    body += text_at(left - 6, up(share) + 4, "tick", fmt::format("{:g}", std::round(share * 1000) / 10), "end");
  }
  for (const double count : counts) {
    body += text_at(across(count), height + 18, "tick", fmt::format("{:g}", count), "middle");
  }
  body += text_at((left + right) / 2, height + 38, "tick", figure.counted, "middle");
  double legend = width == FigureWidth::wide ? top + 8 : height + 64;
  for (const CurveFigure::Series& series : figure.series) {
    const CurveFigure::Point* last = nullptr;
    for (const CurveFigure::Point& point : series.points) {
      if (!std::isfinite(point.value)) continue;
      const double x = across(point.count), y = up(point.value);
      if (last) body += line_at("curve " + series.style, across(last->count), up(last->value), x, y);
      if (std::isfinite(point.low) && std::isfinite(point.high)) {
        body += line_at("curve whisker-" + series.style, x, up(point.low), x, up(point.high));
      }
      body += fmt::format("<circle class=\"point {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n", series.style, x, y);
      last = &point;
    }
    const double x = width == FigureWidth::wide ? right + 16 : left;
    body += line_at("curve " + series.style, x, legend - 4, x + 18, legend - 4);
    body += text_at(x + 24, legend, "label", series.label);
    legend += 20;
  }
  Layout layout = layout_of(width);
  return picture(layout, width == FigureWidth::wide ? height + 46 : legend, figure.title, figure.description, body);
}

std::string scatter_figure(const ScatterFigure& figure, FigureWidth width) {
  const bool wide = width == FigureWidth::wide;
  const double left = 44, right = (wide ? 720 : 340) - (wide ? 210 : 14), top = 24, height = 320;
  const auto across = [&](double x) {
    return left + (right - left) * std::clamp((x - figure.left) / (figure.right - figure.left), 0.0, 1.0);
  };
  const auto up = [&](double y) {
    return height - (height - top) * std::clamp((y - figure.bottom) / (figure.top - figure.bottom), 0.0, 1.0);
  };
  const auto number = [](double share) { return fmt::format("{:g}", std::round(share * 1000) / 10); };
  std::string body;
  for (int step = 0; step <= 4; ++step) {
    const double y = figure.bottom + (figure.top - figure.bottom) * step / 4;
    const double x = figure.left + (figure.right - figure.left) * step / 4;
    body += line_at(step == 0 ? "axis" : "grid", left, up(y), right, up(y));
    body += text_at(left - 6, up(y) + 4, "tick", number(y), "end");
    body += text_at(across(x), height + 18, "tick", number(x), "middle");
  }
  body += text_at(left, height + 38, "tick", figure.across) + text_at(0, 12, "tick", figure.up);
  // a filled mark, an open one, and so on: series are told apart without colour
  const auto mark = [](size_t series, double x, double y, const std::string& label) {
    const std::string title = label.empty() ? "" : "<title>" + escape_html(label) + "</title>";
    const char* style = series % 2 == 0 ? "dot first" : "dot second";
    if (series / 2 % 2 == 0) {
      return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\">{}</circle>\n", style, x, y,
                         title);
    }
    return fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}l5 5l-5 5l-5 -5z\">{}</path>\n", style, x, y - 5, title);
  };
  double legend = wide ? top + 8 : height + 64;
  for (size_t s = 0; s < figure.series.size(); ++s) {
    for (const ScatterFigure::Point& point : figure.series[s].points) {
      if (std::isfinite(point.x) && std::isfinite(point.y)) body += mark(s, across(point.x), up(point.y), point.label);
    }
    const double x = wide ? right + 22 : left;
    body += mark(s, x, legend - 4, "") + text_at(x + 14, legend, "label", figure.series[s].label);
    legend += 20;
  }
  return picture(layout_of(width), wide ? std::max(height + 46, legend) : legend, figure.title, figure.description,
                 body);
}

std::string heat_map(const HeatMap& map, FigureWidth width) {
  const Layout layout = layout_of(width);
  const double left = layout.left, gap = 3, cell = layout.above ? 36 : 34;
  const double columns = std::max<double>(1, static_cast<double>(map.columns.size()));
  const double wide = (layout.width - left - gap * (columns - 1)) / columns;
  std::string body;
  for (size_t c = 0; c < map.columns.size(); ++c) {
    body += text_at(left + static_cast<double>(c) * (wide + gap) + wide / 2, 13, "tick", map.columns[c], "middle");
  }
  double y = 22;
  for (const HeatMap::Line& line : map.lines) {
    if (layout.above) {
      body += text_at(0, y + 15, "label", line.label);
      y += 21;
    } else {
      body += text_at(0, y + cell / 2 + 4.5, "label", line.label);
    }
    for (size_t c = 0; c < line.shares.size(); ++c) {
      const double x = left + static_cast<double>(c) * (wide + gap), share = line.shares[c];
      if (!std::isfinite(share)) {
        body += rectangle("empty", x, y, wide, cell);
        continue;
      }
      body += rectangle("heat", x, y, wide, cell, fmt::format(" fill-opacity=\"{:.3f}\"", 0.04 + 0.96 * share));
      const std::string style = share > 0.7 ? " strong" : "";
      body += text_at(x + wide / 2, y + 15, "cell" + style, percent(share), "middle");
      if (c < line.counts.size()) {
        body += text_at(x + wide / 2, y + 28, "cell small" + style, "of " + count(line.counts[c]), "middle");
      }
    }
    y += cell + (layout.above ? 7 : gap);
  }
  return picture(layout, y + 2, map.title, map.description, body);
}

}  // namespace introspect
