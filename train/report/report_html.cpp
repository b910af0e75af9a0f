#include "train/report/report_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/console.h"
#include "support/html_page.h"
#include "support/names.h"
#include "support/parse_number.h"
#include "support/plot_axis.h"

namespace mmrec {

namespace {

constexpr std::string_view kStyle = R"(
h2 { font-size: 17px; margin: 34px 0 6px; }
h2 small { color: var(--soft); font-weight: 400; font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px;
  margin: 18px 0 22px; }
.cards div { border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.cards b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.cards span { color: var(--soft); font-size: 13px; }
.check { margin: 6px 0; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--line);
  max-width: none; color: inherit; }
.check.bad { border-color: var(--c1); border-left-width: 4px; }
.pairs { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; }
@media (max-width: 640px) { .pairs { display: block; } }
figure { margin: 0 0 8px; position: relative; } figcaption { font-weight: 600; margin: 14px 0 2px; }
figcaption small { color: var(--soft); font-weight: 400; }
.plot .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.plot .dashed { stroke-dasharray: 5 4; } .plot .band { opacity: 0.14; stroke: none; }
.plot .mark { stroke: var(--soft); }
.plot .dot { stroke: var(--paper); stroke-width: 1; }
.plot .cursor { stroke: var(--soft); stroke-dasharray: 2 3; visibility: hidden; }
.tip { position: absolute; top: 26px; pointer-events: none; background: var(--paper);
  border: 1px solid var(--line); border-radius: 6px;
  padding: 4px 8px; font-size: 12px; white-space: pre; visibility: hidden;
  font-variant-numeric: tabular-nums; }
.swatch { width: 14px; height: 4px; border-radius: 2px; display: inline-block; }
td .swatch { margin-right: 8px; vertical-align: middle; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--line);
  padding: 4px 0 4px 14px; font: 14px/1.5 Georgia, "Times New Roman", serif; }
)";

/// Shows the values under the pointer. The page is complete without it.
constexpr std::string_view kScript = R"(<script>
for (const figure of document.querySelectorAll('figure')) {
  const curves = JSON.parse(figure.querySelector('script').textContent);
  const tip = figure.querySelector('.tip');
  const short = v => Math.abs(v) >= 1e4 ? Math.round(v).toLocaleString() : +v.toPrecision(4);
  for (const svg of figure.querySelectorAll('svg.plot')) {
    const cursor = svg.querySelector('.cursor'), d = svg.dataset;
    svg.addEventListener('pointermove', event => {
      const box = svg.getBoundingClientRect();
      const pixel = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      const x = +d.x0 + (pixel - d.left) / (d.right - d.left) * (d.x1 - d.x0);
      let nearest = null;
      const rows = curves.map(([name, xs, ys]) => {
        let i = xs.findIndex(v => v >= x);
        if (i < 0) i = xs.length - 1;
        if (i > 0 && x - xs[i - 1] < xs[i] - x) --i;
        if (nearest === null || Math.abs(xs[i] - x) < Math.abs(nearest - x)) nearest = xs[i];
        return name + '  ' + short(ys[i]);
      });
      if (nearest === null) return;
      const at = +d.left + (nearest - d.x0) / (d.x1 - d.x0) * (d.right - d.left);
      cursor.setAttribute('x1', at); cursor.setAttribute('x2', at);
      cursor.style.visibility = tip.style.visibility = 'visible';
      tip.textContent = figure.dataset.axis + ' ' + short(nearest) + '\n' + rows.join('\n');
      const place = at * box.width / svg.viewBox.baseVal.width;
      const fits = place + 14 + tip.offsetWidth <= box.width;
      tip.style.left = (fits ? place + 14 : Math.max(0, place - 14 - tip.offsetWidth)) + 'px';
    });
    svg.addEventListener('pointerleave', () => {
      cursor.style.visibility = tip.style.visibility = 'hidden';
    });
  }
}
</script>
)";

using Value = std::function<double(const MetricsRow&)>;

/// A drawn curve of a run. If there are more rows than points, a point is the mean of neighbouring
/// rows; low and high are their range.
struct Curve {
  std::string name;
  size_t run = 0;
  bool validation = false;
  std::vector<double> x = {}, mean = {}, low = {}, high = {};
};

/// Where a phase of a growing run begins.
struct Mark {
  double x;
  std::string label;
};

struct Figure {
  std::string title = {}, about = {};
  std::vector<Curve> curves = {};
  bool from_zero = false;
  std::vector<Mark> marks = {};
};

constexpr int kRefreshSeconds = 10;  // of a page that shows a run in progress
constexpr size_t kPoints = 300;      // per curve; more would not be visible

Curve curve_of(std::string name, size_t run, bool validation, const std::vector<MetricsRow>& rows,
               const Value& x, const Value& y) {
  Curve curve{.name = std::move(name), .run = run, .validation = validation};
  std::vector<const MetricsRow*> finite;
  for (const MetricsRow& row : rows)
    if (std::isfinite(y(row))) finite.push_back(&row);
  const size_t points = std::min(finite.size(), kPoints);
  for (size_t i = 0; i < points; ++i) {
    const size_t begin = i * finite.size() / points, end = (i + 1) * finite.size() / points;
    const auto count = static_cast<double>(end - begin);
    double mean_x = 0, mean_y = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    for (size_t j = begin; j < end; ++j) {
      const double value = y(*finite[j]);
      mean_x += x(*finite[j]) / count;
      mean_y += value / count;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    curve.x.push_back(mean_x);
    curve.mean.push_back(mean_y);
    curve.low.push_back(low);
    curve.high.push_back(high);
  }
  return curve;
}

/// Draws a curve that is not empty: the mean, and for training the range; dots if there are few
/// points. px and py place values.
template <class Px, class Py>
std::string curve_svg(const Curve& curve, const Px& px, const Py& py) {
  const auto path = [&](const std::vector<double>& values) {
    std::string d;
    for (size_t i = 0; i < curve.x.size(); ++i)
      d += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "M" : "L", px(curve.x[i]), py(values[i]));
    return d;
  };
  const std::string colour = fmt::format("var(--c{})", curve.run % kHtmlColours);
  std::string svg;
  if (!curve.validation) {
    std::string band = path(curve.high);
    for (size_t i = curve.x.size(); i-- > 0;)
      band += fmt::format("L{:.1f},{:.1f}", px(curve.x[i]), py(curve.low[i]));
    if (curve.low != curve.high)
      svg += fmt::format("<path class='band' d='{}Z' style='fill:{}'/>", band, colour);
  }
  svg += fmt::format("<path class='line{}' d='{}' style='stroke:{}'/>",
                     curve.validation ? " dashed" : "", path(curve.mean), colour);
  if (curve.validation && curve.x.size() <= 60)
    for (size_t i = 0; i < curve.x.size(); ++i)
      svg += fmt::format("<circle class='dot' cx='{:.1f}' cy='{:.1f}' r='4' style='fill:{}'/>",
                         px(curve.x[i]), py(curve.mean[i]), colour);
  return svg;
}

std::string plot(const Figure& figure, const std::string& axis, const char* css, double width,
                 double height) {
  constexpr double kRight = 18, kTop = 12, kBottom = 36;
  const double infinity = std::numeric_limits<double>::infinity();
  double left = infinity, right = -infinity, low = infinity, high = -infinity;
  for (const Curve& curve : figure.curves)
    for (size_t i = 0; i < curve.x.size(); ++i) {
      left = std::min(left, curve.x[i]);
      right = std::max(right, curve.x[i]);
      low = std::min(low, curve.low[i]);
      high = std::max(high, curve.high[i]);
    }
  const PlotAxis::Scale scale = figure.from_zero ? PlotAxis::Scale::kLinear : scale_for(low, high);
  if (figure.from_zero) low = 0;
  const double margin = scale == PlotAxis::Scale::kLinear ? 0.04 * (high - low) : 0;
  if (left == right) std::tie(left, right) = std::pair(left - 1, right + 1);
  const PlotAxis y(figure.from_zero ? 0 : low - margin, high + margin, height - kTop - kBottom,
                   scale);
  const std::vector<double> y_ticks = y.ticks(static_cast<int>((height - kTop - kBottom) / 28));
  size_t longest = 0;
  for (const double tick : y_ticks) longest = std::max(longest, axis_label(tick).size());
  constexpr double kCharacter = 7.5;  // maximum width of a digit at 12 px
  const double label_room = std::max(48., 12 + kCharacter * static_cast<double>(longest));
  const PlotAxis x(left, right, width - label_room - kRight, PlotAxis::Scale::kLinear);
  const auto px = [&](double value) { return label_room + x.place(value); };
  const auto py = [&](double value) { return height - kBottom - y.place(value); };

  std::string svg = fmt::format(
      "<svg class='plot {}' viewBox='0 0 {} {}' role='img' aria-label='{}' data-left='{}' "
      "data-right='{}' data-x0='{}' data-x1='{}'>",
      css, width, height, html_escaped(figure.title), label_room, width - kRight, left, right);
  for (const double tick : x.ticks(static_cast<int>((width - label_room - kRight) / 70)))
    svg += fmt::format(
        "<line class='grid' x1='{0:.1f}' x2='{0:.1f}' y1='{1}' y2='{2}'/><text x='{0:.1f}' y='{3}' "
        "text-anchor='middle'>{4}</text>",
        px(tick), kTop, height - kBottom, height - kBottom + 15, axis_label(tick));
  for (const double tick : y_ticks)
    svg += fmt::format(
        "<line class='grid' x1='{1}' x2='{2}' y1='{0:.1f}' y2='{0:.1f}'/><text x='{3}' y='{4:.1f}' "
        "text-anchor='end'>{5}</text>",
        py(tick), label_room, width - kRight, label_room - 6, py(tick) + 4, axis_label(tick));
  svg += fmt::format("<text x='{}' y='{}' text-anchor='end'>{}</text>", width - kRight, height - 5,
                     axis);

  for (const Mark& mark : figure.marks) {
    if (mark.x > right) continue;
    const double at = px(std::max(mark.x, left));
    svg += fmt::format(
        "<line class='mark' x1='{0:.1f}' x2='{0:.1f}' y1='{1}' y2='{2}'/><text x='{3:.1f}' "
        "y='{4}'>{5}</text>",
        at, kTop, height - kBottom, at + 4, kTop + 10, html_escaped(mark.label));
  }

  for (const Curve& curve : figure.curves)
    if (!curve.x.empty()) svg += curve_svg(curve, px, py);
  return svg + fmt::format("<line class='cursor' y1='{}' y2='{}'/></svg>", kTop, height - kBottom);
}

std::string figure_html(const Figure& figure, const std::string& axis, double width) {
  if (std::ranges::all_of(figure.curves, [](const Curve& curve) { return curve.x.empty(); }))
    return "";
  nlohmann::json data = nlohmann::json::array();
  const auto rounded = [](const std::vector<double>& values) {
    nlohmann::json numbers = nlohmann::json::array();
    for (const double value : values)
      numbers.push_back(parse_number<double>(fmt::format("{:.6g}", value)).value_or(value));
    return numbers;
  };
  for (const Curve& curve : figure.curves)
    if (!curve.x.empty())
      data.push_back({visible_in_line(curve.name), rounded(curve.x), rounded(curve.mean)});
  std::string json = data.dump();
  // prevents </script> in a name
  for (size_t place = 0; (place = json.find('<', place)) != json.npos;)
    json.replace(place, 1, "\\u003c");
  return fmt::format(
      "<figure data-axis='{}'><figcaption>{} <small>{}</small></figcaption>{}{}<div "
      "class='tip'></div>"
      "<script type='application/json'>{}</script></figure>\n",
      axis, html_escaped(figure.title), html_escaped(figure.about),
      plot(figure, axis, "wide", width, width > 600 ? 400 : 250),
      plot(figure, axis, "narrow", 400, 270), json);
}

std::string cell(const std::string& text) { return "<td>" + text + "</td>"; }
std::string swatch(size_t run) {
  return fmt::format("<span class='swatch' style='background:var(--c{})'></span>",
                     run % kHtmlColours);
}

std::string cards(const RunReport& run) {
  const auto card = [](const std::string& value, const std::string& about) {
    return fmt::format("<div><b>{}</b><span>{}</span></div>", value, about);
  };
  std::string html = "<div class='cards'>";
  if (run.best) {
    html += card(fmt::format("{:.4f}", run.best->loss),
                 fmt::format("best validation loss, step {}", run.best->step));
    html += card(fmt::format("{:.2f}", run.best->perplexity()), "its perplexity");
    if (const std::string bits = bits_per_byte(run.best, ""); !bits.empty())
      html += card(bits, "its bits per byte");
    html += card(percent(run.best->accuracy), "tokens guessed right");
  }
  html += card(fmt::format("{:.4f}", run.epochs.back().mean), "training loss, last epoch");
  html += card(axis_label(static_cast<double>(run.tokens())),
               fmt::format("tokens in {} steps", run.steps()));
  html += card(format_duration(run.seconds()), fmt::format("{:.0f} tokens/s", run.median_speed));
  if (!run.precision.empty()) html += card(html_escaped(run.precision), "precision");
  return html + "</div>\n";
}

std::string comparison(const std::vector<RunReport>& runs) {
  std::string html =
      "<div class='scroll'><table><thead><tr><th>run</th><th>bits/byte</th><th>validation "
      "loss</th><th>perplexity</th><th>accuracy</th><th>at step</th>"
      "<th>training "
      "loss</th><th>steps</th><th>tokens</th><th>time</th><th>tokens/s</th><th>precision</th></tr>"
      "</thead><tbody>\n";
  for (const size_t i : best_first(runs)) {
    const RunReport& run = runs[i];
    html +=
        "<tr>" + cell(swatch(i) + html_escaped(run.name)) + cell(bits_per_byte(run.best, "")) +
        cell(run.best ? fmt::format("{:.4f}", run.best->loss) : "") +
        cell(run.best ? fmt::format("{:.3f}", run.best->perplexity()) : "") +
        cell(run.best ? percent(run.best->accuracy) : "") +
        cell(run.best ? fmt::format("{}", run.best->step) : "") +
        cell(fmt::format("{:.4f}", run.epochs.back().mean)) + cell(fmt::format("{}", run.steps())) +
        cell(axis_label(static_cast<double>(run.tokens()))) + cell(format_duration(run.seconds())) +
        cell(fmt::format("{:.0f}", run.median_speed)) + cell(html_escaped(run.precision)) +
        "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string epochs(const RunReport& run) {
  std::string html =
      "<div "
      "class='scroll'><table><thead><tr><th>epoch</th><th>steps</th><th>start</th><th>end</"
      "th><th>mean</th><th>min</th><th>max</th>"
      "<th>change</th><th>accuracy</th><th>validation</th><th>perplexity</th><th>bits/byte</th>"
      "<th>time</th></tr></"
      "thead><tbody>\n";
  const EpochSummary* before = nullptr;
  for (const EpochSummary& epoch : run.epochs) {
    html += "<tr>" + cell(fmt::format("{}", epoch.epoch)) +
            cell(fmt::format("{}-{}", epoch.first_step, epoch.last_step));
    for (const double loss : {epoch.start, epoch.end, epoch.mean, epoch.minimum, epoch.maximum})
      html += cell(fmt::format("{:.4f}", loss));
    html += cell(before ? relative_change(before->mean, epoch.mean) : "") +
            cell(percent(epoch.accuracy)) +
            cell(epoch.validation ? fmt::format("{:.4f}", epoch.validation->loss) : "") +
            cell(epoch.validation ? fmt::format("{:.3f}", epoch.validation->perplexity()) : "") +
            cell(bits_per_byte(epoch.validation, "")) + cell(format_duration(epoch.seconds)) +
            "</tr>\n";
    before = &epoch;
  }
  return html + "</tbody></table></div>\n";
}

std::string phases(const RunReport& run) {
  std::string html =
      "<div class='scroll'><table><thead><tr><th>phase</th><th>steps</th><th>best "
      "validation</th><th>at step</th></tr></thead><tbody>\n";
  for (const PhaseSummary& phase : run.phases)
    html += "<tr>" + cell(html_escaped(phase.size)) +
            cell(fmt::format("{}-{}", phase.first_step, phase.last_step)) +
            cell(phase.best ? fmt::format("{:.4f}", phase.best->loss) : "") +
            cell(phase.best ? fmt::format("{}", phase.best->step) : "") + "</tr>\n";
  return html + "</tbody></table></div>\n";
}

std::string checks(const RunReport& run) {
  std::string html;
  if (std::ranges::none_of(run.findings, &Finding::serious))
    html += fmt::format("<p class='check'>\u2713 {}</p>\n", kNoProblem);
  for (const Finding& finding : run.findings)
    html += fmt::format("<p class='check{}</p>\n",
                        (finding.serious ? " bad'>\u26a0 " : "'>") + html_escaped(finding.text));
  return html;
}

std::vector<Mark> phase_marks(const RunReport& run, const Value& x) {
  std::vector<Mark> marks;
  for (const PhaseSummary& phase : run.phases)
    if (const auto first = std::ranges::find(run.train, phase.first_step, &MetricsRow::step);
        first != run.train.end())
      marks.push_back({x(*first), phase.size.substr(0, phase.size.find('+'))});
  return marks;
}

std::vector<Figure> figures(const std::vector<RunReport>& runs, const std::string& axis) {
  const Value x = [by_step = axis == "step"](const MetricsRow& row) {
    return static_cast<double>(by_step ? row.step : row.tokens);
  };
  Figure loss{.title = "Loss",
              .about = "training (with the range of neighbouring steps) and, dashed, validation"};
  // of runs with different tokens these compare, losses do not
  const bool in_bits = runs.size() > 1 && std::ranges::all_of(runs, [](const RunReport& run) {
                         return std::ranges::all_of(run.validation, [](const MetricsRow& row) {
                           return std::isfinite(row.bits_per_byte);
                         });
                       });
  Figure validation{.title = in_bits ? "Validation, bits per byte" : "Validation loss"},
      rate{.title = "Learning rate", .from_zero = true};
  Figure norm{.title = "Gradient norm", .about = "before clipping"},
      speed{.title = "Tokens per second", .from_zero = true};
  Figure auxiliary{.title = "Auxiliary loss", .about = "beside the training loss"},
      factor{.title = "Largest factor of the state", .about = "above 1 a state can grow"},
      state{.title = "Largest |h|", .about = "over all layers, tokens and units"};
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunReport& run = runs[i];
    const bool one = runs.size() == 1;
    const auto add = [&](Figure& figure, const std::vector<MetricsRow>& rows,
                         double MetricsRow::*value, const char* what, bool dashed = false) {
      figure.curves.push_back(curve_of(one ? what : run.name, i, dashed, rows, x,
                                       [value](const MetricsRow& row) { return row.*value; }));
    };
    add(loss, run.train, &MetricsRow::loss, "training");
    add(loss, run.validation, &MetricsRow::loss, "validation", true);
    if (!one) loss.curves.back().name += " (validation)";
    add(validation, run.validation, in_bits ? &MetricsRow::bits_per_byte : &MetricsRow::loss,
        "validation", true);
    add(rate, run.train, &MetricsRow::lr, "learning rate");
    add(norm, run.train, &MetricsRow::grad_norm, "gradient norm");
    add(speed, run.train, &MetricsRow::tokens_per_second, "tokens/s");
    add(auxiliary, run.train, &MetricsRow::aux_loss, "auxiliary loss");
    add(factor, run.train, &MetricsRow::max_factor, "largest factor");
    add(state, run.train, &MetricsRow::max_state, "largest |h|");
  }
  std::vector<Figure> all{loss, validation, rate, norm, speed};
  for (const Figure& figure : {auxiliary, factor, state})
    if (std::ranges::any_of(figure.curves, [](const Curve& curve) { return !curve.x.empty(); }))
      all.push_back(figure);
  if (runs.size() == 1)
    for (Figure& figure : all) figure.marks = phase_marks(runs.front(), x);
  return all;
}

}  // namespace

std::string report_html(const std::vector<RunReport>& runs) {
  const bool one = runs.size() == 1;
  const std::string axis = common_axis(runs),
                    title = one ? runs.front().name : fmt::format("{} runs", runs.size());
  std::string body = fmt::format("<h1>{}</h1>\n", html_escaped(title));
  for (const RunReport& run : runs)
    if (run.live)
      body += fmt::format("<p>{} is training: step {}{}, {} left</p>\n", html_escaped(run.name),
                          run.steps(),
                          run.planned_steps > 0 ? fmt::format(" of {}", run.planned_steps) : "",
                          format_duration(run.seconds_left()));
  if (one)
    body += fmt::format("<p>{}</p>\n", html_escaped(runs.front().folder.string())) +
            cards(runs.front()) + checks(runs.front());
  else
    body += "<p>The best validation first.</p>\n" + comparison(runs);

  const std::vector<Figure> all = figures(runs, axis);
  body += figure_html(all[0], axis, 1040);
  if (!one) {
    body += "<ul class='legend'>";
    for (size_t i = 0; i < runs.size(); ++i)
      body += fmt::format("<li>{}{}</li>", swatch(i), html_escaped(runs[i].name));
    body += "</ul>\n";
  }
  body += "<div class='pairs'>";
  for (size_t i = 1; i < all.size(); ++i) body += figure_html(all[i], axis, 510);
  body += "</div>\n";

  for (size_t i = 0; i < runs.size(); ++i) {
    const RunReport& run = runs[i];
    body +=
        one ? "<h2>Epochs</h2>\n"
            : fmt::format("<h2>{} {} <small>{}</small></h2>\n{}", swatch(i), html_escaped(run.name),
                          html_escaped(run.folder.string()), checks(run));
    body += epochs(run);
    if (!run.phases.empty()) body += "<h2>Phases</h2>\n" + phases(run);
    if (!run.sample.empty())
      body += fmt::format("<details{}><summary>What it writes</summary><pre>{}</pre></details>\n",
                          one ? " open" : "", html_escaped(run.sample));
  }
  const bool live = std::ranges::any_of(runs, &RunReport::live);
  return html_page("report: " + title, kStyle, body + std::string(kScript),
                   live ? kRefreshSeconds : 0);
}

}  // namespace mmrec
