// Numbers and text as the report shows them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace introspect {

// Safe between tags and inside quoted attributes. Bytes that are no UTF-8 become U+FFFD, control characters are
// left out except for line breaks and tabs.
std::string escape_html(std::string_view text);
// Safe in a cell of a Markdown table: on one line, with | < > * _ ` escaped.
std::string escape_markdown(std::string_view text);
// A field of a CSV file (RFC 4180): quoted where needed.
std::string csv_field(std::string_view text);

std::string capitalised(std::string text);  // its first letter, if that is ASCII

// Shares in [0, 1] are shown times 100 with one decimal; NaN as a dash.
std::string percent(double share);                     // "33.2"
std::string signed_percent(double share);              // "+17.4", "−1.2"
std::string interval(double low, double high);         // "29.1 to 37.4"; empty without one
std::string signed_interval(double low, double high);  // "+13.0 to +21.6"
// "33.2 (29.1 to 37.4)"; the first alone without an interval
std::string percent_shown(double value, double low, double high);
std::string difference_shown(double value, double low, double high);  // "−3.1 (−5.0 to −1.2)"
std::string p_value(double p);                                        // "p = 0.041", "p < 0.001"; empty for NaN
std::string p_cell(double p);                                  // in a column of p: "0.041", "< 0.001"; a dash for NaN
std::string count(int64_t number);                             // "12,345"
std::string plural(int64_t number, const std::string& thing);  // "1 item", "1,128 items"

}  // namespace introspect
