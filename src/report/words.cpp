#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

// Length of the UTF-8 character that begins here, or 0.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 && first < 0xF5 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first >= 0xF5 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // no overlong forms, surrogates, or numbers beyond U+10FFFF
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F)) return 0;
  if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

// The text as UTF-8 without control characters, each ASCII letter through `replace`.
template <class Replace>
std::string cleaned(std::string_view text, Replace&& replace) {
  std::string result;
  while (!text.empty()) {
    const size_t length = character_length(text);
    const char letter = text[0];
    if (length == 0) {
      result += "\xEF\xBF\xBD";
    } else if (length > 1) {
      result += text.substr(0, length);
    } else if (letter == '\n' || letter == '\t' || (static_cast<unsigned char>(letter) >= 0x20 && letter != 0x7F)) {
      replace(result, letter);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

// -0.04 is shown as 0.0, not as -0.0.
double tenths(double share) {
  return std::round(share * 1000) / 10 + 0.0;
}

}  // namespace

std::string escape_html(std::string_view text) {
  return cleaned(text, [](std::string& result, char letter) {
    switch (letter) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += letter;
    }
  });
}

std::string escape_markdown(std::string_view text) {
  return cleaned(text, [](std::string& result, char letter) {
    if (letter == '<') {
      result += "&lt;";
    } else if (letter == '>') {
      result += "&gt;";
    } else if (letter == '\n' || letter == '\t') {
      result += ' ';
    } else {
      if (std::string_view("|*_`\\[]").find(letter) != std::string_view::npos) result += '\\';
      result += letter;
    }
  });
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string result = "\"";
  for (const char letter : text) {
    if (letter == '"') result += '"';
    result += letter;
  }
  return result + "\"";
}

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string percent(double share) {
  if (!std::isfinite(share)) return "–";
  const double shown = tenths(share);
  return fmt::format("{}{:.1f}", shown < 0 ? "−" : "", std::abs(shown));
}

std::string signed_percent(double share) {
  if (!std::isfinite(share)) return "–";
  const double shown = tenths(share);
  return fmt::format("{}{:.1f}", shown > 0 ? "+" : shown < 0 ? "−" : "", std::abs(shown));
}

std::string interval(double low, double high) {
  if (!std::isfinite(low) || !std::isfinite(high)) return "";
  return percent(low) + " to " + percent(high);
}

std::string percent_shown(double value, double low, double high) {
  const std::string range = interval(low, high);
  return percent(value) + (range.empty() ? "" : " (" + range + ")");
}

std::string signed_interval(double low, double high) {
  if (!std::isfinite(low) || !std::isfinite(high)) return "";
  return signed_percent(low) + " to " + signed_percent(high);
}

std::string difference_shown(double value, double low, double high) {
  return signed_percent(value) + " (" + signed_interval(low, high) + ")";
}

std::string p_value(double p) {
  if (!std::isfinite(p)) return "";
  return p < 0.001 ? "p < 0.001" : fmt::format("p = {:.3f}", p);
}

std::string p_cell(double p) {
  if (!std::isfinite(p)) return "–";
  return p < 0.001 ? "< 0.001" : fmt::format("{:.3f}", p);
}

std::string count(int64_t number) {
  std::string digits = std::to_string(number);
  for (size_t place = digits.size(); place > (number < 0 ? 4u : 3u); digits.insert(place, ",")) place -= 3;
  return digits;
}

std::string plural(int64_t number, const std::string& thing) {
  return count(number) + " " + thing + (number == 1 ? "" : "s");
}

}  // namespace introspect
