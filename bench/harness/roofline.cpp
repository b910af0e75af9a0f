#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>
#include <utility>
#include <vector>

#include "bench/harness/report.h"
#include "support/html_page.h"

namespace mmrec::bench {

namespace {

/// Each series has its own colour and shape. Rivals have hollow markers.
constexpr const char* kStyle = R"(
.plot text.roof { fill: var(--ink); font-weight: 600; paint-order: stroke; stroke: var(--paper);
  stroke-width: 4px; stroke-linejoin: round; }
.plot path.roof { fill: none; stroke: var(--ink); stroke-width: 2; }
.mark { stroke: var(--paper); stroke-width: 0.8; }
.mark.rival { fill: var(--paper); fill-opacity: 0.5; stroke-width: 1.7; }
.plot .mark:hover { stroke: var(--ink); stroke-width: 2; }
td:last-child { text-align: left; color: var(--soft); }
tr.fastest td:first-child { font-weight: 650; }
td.part { background: linear-gradient(90deg, var(--bar) var(--p), transparent var(--p));
  min-width: 90px; }
)";

/// Marker outlines around (0, 0).
constexpr std::array kShapes = {"M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z", "M-4,-4h8v8h-8z",
                                "M0,-5.6L5.6,0L0,5.6L-5.6,0z", "M0,-5.2L5,4H-5z",
                                "M0,5.2L5,-4H-5z"};

/// The rows of one variant.
struct Series {
  std::string name;
  bool rival;
};

struct Point {
  double x, y;  ///< operations per byte, 10^9 operations per second
  size_t series;
  std::string title;
};

struct Chart {
  std::vector<Series> series;
  std::vector<Point> points;
};

Chart chart(const Groups& groups, const MachinePeak& peak) {
  const std::string& first = groups.front().front().row.work->op;
  const bool one_op = std::ranges::all_of(
      groups, [&](const auto& group) { return group.front().row.work->op == first; });
  Chart chart;
  for (const std::vector<Result>& group : groups)
    for (const Result& result : group) {
      const Workload& work = *result.row.work;
      if (work.flops == 0) continue;
      const std::string variant = result.row.variant_name(),
                        name = result.row.variant.empty() ? work.op + variant
                               : one_op                   ? variant
                                                          : work.op + " " + variant;
      const auto known = std::ranges::find(chart.series, name, &Series::name);
      const size_t index = known - chart.series.begin();
      if (known == chart.series.end())
        chart.series.push_back({name, !result.row.registered && group.front().row.registered});
      const Rate rate(work, result.timing.best, peak.all_threads);
      chart.points.push_back(
          {work.flops / work.bytes, rate.flops / 1e9, index,
           fmt::format("{}\n{:.1f} GFLOP/s, {:.1f} GB/s\n{:.0f} % of {}\n{} (median {})",
                       result.row.name(), rate.flops / 1e9, rate.bytes / 1e9,
                       100 * rate.part_of_peak,
                       !rate.arithmetic                     ? "the copy bandwidth"
                       : work.precision == Precision::kBf16 ? "the bf16 peak"
                                                            : "the FMA peak",
                       time_string(result.timing.best), time_string(result.timing.median))});
    }
  return chart;
}

std::string marker(size_t series, bool rival, const std::string& attributes,
                   const std::string& title) {
  return fmt::format("<path class='mark s{}{}' d='{}' style='{}:var(--c{})'{}>{}</path>", series,
                     rival ? " rival" : "", kShapes[series % kShapes.size()],
                     rival ? "stroke" : "fill", series % kHtmlColours, attributes, title);
}

/// A logarithmic axis of `length` pixels.
struct Axis {
  Axis(double low, double high, double length)
      : low(std::log10(low)),
        scale(length / (std::log10(high) - std::log10(low))),
        high(std::log10(high)) {}
  double pixels(double value) const { return (std::log10(value) - low) * scale; }
  /// Returns round numbers on the axis, at least about forty pixels apart.
  std::vector<double> ticks() const {
    std::vector<double> values;
    for (int decade = static_cast<int>(std::floor(low)); decade <= high; ++decade)
      for (const double step : {1., 2., 5.}) {
        const double value = step * std::pow(10., decade);
        if (step != 1 && scale < 130) continue;
        if (std::log10(value) >= low && std::log10(value) <= high) values.push_back(value);
      }
    return values;
  }

  double low, scale, high;
};

struct Pixel {
  double x, y;
};

/// Finds the place for the slope's label that is farthest from all points. The slope goes from
/// `start` by `run` pixels to the right and `rise` pixels up. Returns how many pixels along the
/// slope the label's middle is, and its side: 1 above, -1 below.
std::pair<double, double> place_label(const std::vector<Pixel>& points, const Pixel& start,
                                      double run, double rise) {
  // kOffset: distance between the line and the middle of the letters
  constexpr double kTextWidth = 108, kOffset = 13;
  const double length = std::hypot(run, rise);
  struct {
    double distance, along, side;
  } best{-1, 0, 1};
  for (const double side : {1., -1.})
    for (double along = kTextWidth / 2; along <= std::max(length - kTextWidth / 2, kTextWidth / 2);
         along += 10) {
      double distance = 60;  // larger distances count as equal
      for (const double letter : {-0.5, -0.25, 0., 0.25, 0.5}) {
        const double x =
            start.x + ((along + letter * kTextWidth) * run - side * kOffset * rise) / length;
        const double y =
            start.y - ((along + letter * kTextWidth) * rise + side * kOffset * run) / length;
        for (const Pixel& point : points)
          distance = std::min(distance, std::hypot(point.x - x, point.y - y));
      }
      if (distance > best.distance) best = {distance, along, side};
    }
  return {best.along, best.side};
}

std::string plot(const Chart& chart, const Peak& peak, const char* css, double width,
                 double height) {
  constexpr double kLeft = 52, kRight = 16, kTop = 30, kBottom = 46;
  const double bytes = peak.bytes / 1e9;
  /// A level part of the roof, in 10^9 operations per second.
  struct Roof {
    const char* name;
    double flops;
  };
  std::vector<Roof> roofs = {{"multiply-adds", peak.flops / 1e9}};
  if (peak.bf16_flops > 0) roofs.push_back({"bf16 multiply-adds", peak.bf16_flops / 1e9});
  const auto [floor, top] = std::ranges::minmax(roofs | std::views::transform(&Roof::flops));
  const auto [left, right] = std::ranges::minmax(chart.points | std::views::transform(&Point::x));
  const auto [low, high] = std::ranges::minmax(chart.points | std::views::transform(&Point::y));
  const Axis x(std::min(left, floor / bytes) * 0.6, std::max(right, top / bytes) * 1.8,
               width - kLeft - kRight);
  const Axis y(std::min(low, floor / 10) * 0.6, std::max(high, top) * 2, height - kTop - kBottom);
  const auto px = [&](double value) { return kLeft + x.pixels(value); };
  const auto py = [&](double value) { return height - kBottom - y.pixels(value); };

  std::string svg =
      fmt::format("<svg class='plot {}' viewBox='0 0 {} {}' role='img' aria-label='roofline plot'>",
                  css, width, height);
  for (const double tick : x.ticks())
    svg += fmt::format(
        "<line class='grid' x1='{0:.1f}' x2='{0:.1f}' y1='{1}' y2='{2}'/><text x='{0:.1f}' y='{3}' "
        "text-anchor='middle'>{4:g}</text>",
        px(tick), kTop, height - kBottom, height - kBottom + 17, tick);
  for (const double tick : y.ticks())
    svg += fmt::format(
        "<line class='grid' x1='{1}' x2='{2}' y1='{0:.1f}' y2='{0:.1f}'/><text x='{3}' y='{4:.1f}' "
        "text-anchor='end'>{5:g}</text>",
        py(tick), kLeft, width - kRight, kLeft - 7, py(tick) + 4, tick);
  svg += fmt::format("<text x='{}' y='{}' text-anchor='end'>operations a byte</text>",
                     width - kRight, height - 8);
  svg += "<text x='0' y='14'>GFLOP/s</text>";

  for (const Point& point : chart.points)
    svg += marker(point.series, chart.series[point.series].rival,
                  fmt::format(" transform='translate({:.1f},{:.1f})'", px(point.x), py(point.y)),
                  fmt::format("<title>{}</title>", html_escaped(point.title)));

  // The roof with a label on each of its parts. The slope's label goes where it is farthest from
  // all points.
  const double enters = std::max(std::pow(10., x.low), std::pow(10., y.low) / bytes);
  svg += fmt::format("<path class='roof' d='M{:.1f},{:.1f}L{:.1f},{:.1f}'/>", px(enters),
                     py(enters * bytes), px(top / bytes), py(top));
  for (const Roof& roof : roofs)
    svg += fmt::format(
        "<path class='roof' d='M{:.1f},{:.1f}H{}'/><text class='roof' x='{}' y='{:.1f}' "
        "text-anchor='end'>{}: {:.0f} GFLOP/s</text>",
        px(roof.flops / bytes), py(roof.flops), width - kRight, width - kRight - 4,
        py(roof.flops) - 9, roof.name, roof.flops);
  const double run = px(top / bytes) - px(enters), rise = py(enters * bytes) - py(top),
               length = std::hypot(run, rise);
  std::vector<Pixel> points;
  for (const Point& point : chart.points) points.push_back({px(point.x), py(point.y)});
  const auto [along, side] = place_label(points, {px(enters), py(enters * bytes)}, run, rise);
  svg += fmt::format(
      "<text class='roof' transform='translate({:.1f},{:.1f}) rotate({:.1f})' y='{:.0f}' "
      "text-anchor='middle'>copies: {:.0f} GB/s</text>",
      px(enters) + along * run / length, py(enters * bytes) - along * rise / length,
      -std::atan2(rise, run) * 180 / std::acos(-1.), side > 0 ? -9. : 17., bytes);
  return svg + "</svg>\n";
}

std::string legend(const Chart& chart) {
  std::string list = "<ul class=\"legend\">";
  for (size_t i = 0; i < chart.series.size(); ++i)
    list += fmt::format(
        "<li class=\"l{}\"><svg width=\"14\" height=\"14\" viewBox=\"-7 -7 14 14\">{}</svg>{}</li>",
        i, marker(i, chart.series[i].rival, "", ""), html_escaped(chart.series[i].name));
  // Hovering over a series in the legend dims all other series in the plot.
  list += "</ul>\n<style>";
  for (size_t i = 0; i < chart.series.size(); ++i)
    list += fmt::format("body:has(.l{0}:hover) .plot .mark:not(.s{0}) {{ opacity: 0.08; }}\n", i);
  return list + "</style>\n";
}

std::string table(const Groups& groups, const MachinePeak& peak) {
  std::string rows;
  for (const std::vector<Result>& group : groups) {
    const std::vector<double> ratios = speed_ups(group);
    rows += "<tbody>\n";
    for (size_t i = 0; i < group.size(); ++i) {
      const Result& result = group[i];
      const Workload& work = *result.row.work;
      const Rate rate(work, result.timing.best, peak.all_threads);
      const std::string words = marks(group, i);
      const double part = 100 * rate.part_of_peak;
      rows += fmt::format(
          "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1f}</td><td class=\"part\" "
          "style=\"--p:{:.0f}%\">{:.0f} %</td><td>{}</td>"
          "<td>{}</td></tr>\n",
          words.starts_with("fastest") ? " class=\"fastest\"" : "", html_escaped(result.row.name()),
          time_string(result.timing.best), time_string(result.timing.median),
          work.flops > 0 ? fmt::format("{:.1f}", rate.flops / 1e9) : "", rate.bytes / 1e9,
          std::min(part, 100.), part, group.size() > 1 ? ratio_string(ratios[i]) : "", words);
    }
    rows += "</tbody>\n";
  }
  return "<div "
         "class=\"scroll\"><table><thead><tr><th></th><th>best</th><th>median</th><th>GFLOP/s</"
         "th><th>GB/s</th><th>of the limit</th>"
         "<th>speed-up</th><th></th></tr></thead>\n" +
         rows + "</table></div>\n";
}

}  // namespace

std::string report_html(const Report& report) {
  const MachinePeak& peak = report.peak;
  std::string facts;
  for (const auto& [key, value] : header_lines(peak))
    facts += fmt::format("<dt>{}</dt><dd>{}</dd>", key, html_escaped(value));
  std::string page = fmt::format("<h1>bench: {}</h1>\n", html_escaped(report.title));
  const Chart points = chart(report.groups, peak);
  if (!points.points.empty()) {
    const bool rivals = std::ranges::any_of(points.series, &Series::rival);
    page += fmt::format(
        "<p>A point is a kernel on one shape: how much it computes for each byte that it must read "
        "or write, and how fast. The line is the "
        "limit that this machine sets; only data in the caches gets past its slope.{}{}</p>\n",
        peak.all_threads.bf16_flops > 0 ? " Its upper part is for products of bfloat16 factors."
                                        : "",
        rivals ? " Hollow points are other libraries." : "");
    page += plot(points, peak.all_threads, "wide", 1040, 560) +
            plot(points, peak.all_threads, "narrow", 400, 440) + legend(points);
  }
  return html_page("bench: " + report.title, kStyle,
                   page + "<dl>" + facts + "</dl>\n" + table(report.groups, peak));
}

}  // namespace mmrec::bench
