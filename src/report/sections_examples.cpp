// The examples to look at, with what each row said to them.
#include "report/sections.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

std::string said_words(const Said& said) {
  if (!said.parsed) return escape_html(said.text) + " <i>(not in the form asked for)</i>";
  return fmt::format("{} <i>({})</i>", escape_html(said.content), said.changed ? "changes" : "stays");
}

std::string shown_input(const std::string& html) {
  return "<p class=\"input\">" + html + "</p>\n<p class=\"truth\">";
}

std::string patching_words(const BrowsedExample& example) {
  std::string html = shown_input(escape_html(example.input));
  if (!example.token.empty()) html += fmt::format("Replaced at <mark>{}</mark>. ", escape_html(example.token));
  if (example.changed) {
    return html + fmt::format("The target said <b>{}</b>, and now says <b>{}</b>.</p>\n", escape_html(example.before),
                              escape_html(example.after));
  }
  if (!example.before.empty()) {
    return html + fmt::format("The target says <b>{}</b>, before and after.</p>\n", escape_html(example.before));
  }
  return html + fmt::format("The answer is <b>{}</b>.</p>\n", escape_html(example.answer));
}

// What was taken away is marked where it stands; behind the prompt if it does not stand there exactly once.
std::string ablation_words(const BrowsedExample& example) {
  const auto first = example.token.find_first_not_of(" \t\n\r");
  const std::string part = first == std::string::npos
                               ? ""
                               : example.token.substr(first, example.token.find_last_not_of(" \t\n\r") - first + 1);
  const size_t place = part.empty() ? std::string::npos : example.input.find(part);
  const bool once = place != std::string::npos && example.input.find(part, place + 1) == std::string::npos;
  std::string html;
  if (once) {
    html = shown_input(fmt::format("{}<mark>{}</mark>{}", escape_html(example.input.substr(0, place)),
                                   escape_html(part), escape_html(example.input.substr(place + part.size()))));
  } else {
    html = shown_input(escape_html(example.input));
    const char* stop = part.ends_with('.') ? "" : ".";
    if (!part.empty()) html += fmt::format("Taken away: <mark>{}</mark>{} ", escape_html(part), stop);
  }
  const std::string what = once ? "the marked text" : part.empty() ? "the hint" : "it";
  if (example.changed) {
    return html + fmt::format("With {} the target says <b>{}</b>, without it <b>{}</b>.</p>\n", what,
                              escape_html(example.before), escape_html(example.after));
  }
  return html + fmt::format("The target says <b>{}</b>, with {} and without.</p>\n", escape_html(example.before), what);
}

// Texts that fire the feature, one a line, with the firing tokens between « and ».
std::string feature_words(const BrowsedExample& example) {
  std::string html = "<p class=\"input\">";
  for (size_t i = 0; i < example.input.size();) {
    const std::string_view rest = std::string_view(example.input).substr(i);
    size_t next = std::min({rest.find("«"), rest.find("»"), rest.find('\n')});
    if (next == std::string_view::npos) next = rest.size();
    html += escape_html(rest.substr(0, next));
    i += next;
    if (i >= example.input.size()) break;
    const bool line = example.input[i] == '\n';
    html += line ? "<br>" : rest.substr(next).starts_with("«") ? "<mark>" : "</mark>";
    i += line ? 1 : 2;  // the quotation marks are two bytes of UTF-8
  }
  html += "</p>\n<p class=\"truth\">";
  if (example.answer.empty()) return html + "Nothing in the library describes it.</p>\n";
  return html + fmt::format("The description that fits best: <b>{}</b>.</p>\n", escape_html(example.answer));
}

std::string described_words(const Said& said) {
  const std::string words = said.text.empty() ? "<i>(nothing)</i>" : escape_html(said.text);
  if (!std::isfinite(said.simulated)) return words;
  return words + (said.parsed ? fmt::format(" <i>(simulator score {})</i>", percent(said.simulated))
                              : std::string(" <i>(cannot be simulated)</i>"));
}

std::string example_card(const BrowsedExample& example, const std::string& task) {
  const auto self = std::find_if(example.said.begin(), example.said.end(), [](const Said& said) {
    return said.explainer == "self" && said.condition == "trained";
  });
  const char* right = self == example.said.end() ? "unknown" : self->right ? "yes" : "no";
  std::string layers;
  for (const int64_t layer : example.layers) layers += (layers.empty() ? "" : ", ") + std::to_string(layer);

  const bool features = task_of(task) == Task::features;
  std::string html = fmt::format("<article data-changed=\"{}\" data-right=\"{}\">\n<div class=\"tags\"><b>{}</b>",
                                 example.changed ? "yes" : "no", right,
                                 features          ? escape_html(example.kind)
                                 : example.changed ? "changed"
                                                   : "unchanged");
  const auto tag = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) html += fmt::format("<span>{}{}</span>", name, escape_html(value));
  };
  const bool ablation = task_of(task) == Task::ablation;
  if (features) {
    tag("layer ", layers);
  } else if (ablation) {
    tag("", example.wording);
    tag("", example.subject);
  } else {
    tag("", example.token_type);
    tag("layers ", layers);
    tag("", example.relation);
  }
  tag("", example.id);
  html += "</div>\n" + (features   ? feature_words(example)
                        : ablation ? ablation_words(example)
                                   : patching_words(example));
  html += "<ul class=\"said\">\n";
  for (const Said& said : example.said) {
    html += fmt::format("<li><span class=\"who\">{}</span><span class=\"words\">{}</span>{}</li>\n",
                        escape_html(row_name(said.explainer, said.condition, task).label),
                        features ? described_words(said) : said_words(said),
                        said.right ? "<span class=\"right\">✓ right</span>" : "<span class=\"wrong\">✗ wrong</span>");
  }
  return html + "</ul>\n</article>\n";
}

}  // namespace

std::string example_browser(const ReportInput& input) {
  if (input.examples.empty()) return "";
  const std::string task = task_name(input);
  std::string html =
      "<div class=\"filters\" hidden>\n<button type=\"button\" data-filter=\"all\" "
      "aria-pressed=\"true\">All</button>\n";
  if (task_of(task) != Task::features) {
    html +=
        "<button type=\"button\" data-filter=\"changed=yes\" aria-pressed=\"false\">Changed</button>\n"
        "<button type=\"button\" data-filter=\"changed=no\" aria-pressed=\"false\">Unchanged</button>\n";
  }
  html +=
      "<button type=\"button\" data-filter=\"right=yes\" aria-pressed=\"false\">Self right</button>\n"
      "<button type=\"button\" data-filter=\"right=no\" aria-pressed=\"false\">Self wrong</button>\n"
      "<span class=\"shown\" role=\"status\"></span>\n</div>\n";
  for (const BrowsedExample& example : input.examples) html += example_card(example, task);
  return html;
}

}  // namespace introspect
