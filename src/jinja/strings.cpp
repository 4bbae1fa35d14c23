#include "jinja/strings.h"

#include <functional>
#include <utf8proc.h>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

size_t length_at(std::string_view text, size_t at) {
  utf8proc_int32_t code = 0;
  const auto bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  return length > 0 ? static_cast<size_t>(length) : 1;
}

int32_t code_of(std::string_view character) {
  utf8proc_int32_t code = -1;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                   static_cast<utf8proc_ssize_t>(character.size()), &code);
  return code;
}

// str.isspace
bool is_space(std::string_view character) {
  const int32_t code = code_of(character);
  return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

std::string mapped(std::string_view character, int32_t (*change)(int32_t)) {
  const int32_t code = code_of(character);
  if (code < 0) return std::string(character);
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(change(code), bytes);
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(length)};
}

// What the filter "title" takes for the space between words.
bool parts_words(std::string_view character) {
  return is_space(character) ||
         (character.size() == 1 && std::string_view("-({[<").find(character) != std::string::npos);
}

bool is_letter(std::string_view character) {
  const int32_t code = code_of(character);
  if (code < 0) return false;
  const auto category = utf8proc_category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

}  // namespace

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> list;
  for (size_t at = 0; at < text.size();) {
    const size_t length = length_at(text, at);
    list.emplace_back(text.substr(at, length));
    at += length;
  }
  return list;
}

std::string stripped(std::string_view text, Side side, std::string_view of) {
  const std::vector<std::string> list = characters(text), taken = characters(of);
  const auto goes = [&](const std::string& character) {
    if (of.empty()) return is_space(character);
    for (const std::string& each : taken) {
      if (each == character) return true;
    }
    return false;
  };
  size_t first = 0, last = list.size();
  if (side != Side::right) {
    while (first < last && goes(list[first])) ++first;
  }
  if (side != Side::left) {
    while (last > first && goes(list[last - 1])) --last;
  }
  std::string out;
  for (size_t i = first; i < last; ++i) out += list[i];
  return out;
}

std::string upper(std::string_view text) {
  std::string out;
  for (const std::string& each : characters(text)) out += each == "ß" ? "SS" : mapped(each, utf8proc_toupper);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (const std::string& each : characters(text)) out += mapped(each, utf8proc_tolower);
  return out;
}

std::string capitalised(std::string_view text) {
  std::string out;
  for (const std::string& each : characters(text))
    out += mapped(each, out.empty() ? utf8proc_totitle : utf8proc_tolower);
  return out;
}

std::string titled(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const std::string& each : characters(text)) {
    out += mapped(each, inside ? utf8proc_tolower : utf8proc_totitle);
    inside = is_letter(each);
  }
  return out;
}

std::string titled_by_words(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const std::string& each : characters(text)) {
    out += mapped(each, inside ? utf8proc_tolower : utf8proc_toupper);
    inside = !parts_words(each);
  }
  return out;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  if (from.empty()) {  // Python puts `to` between all characters
    std::string out;
    for (const std::string& each : characters(text)) {
      if (most-- != 0) out += to;
      out += each;
    }
    if (most != 0) out += to;
    return out;
  }
  std::string out;
  size_t at = 0;
  for (size_t found; most != 0 && (found = text.find(from, at)) != std::string_view::npos; --most) {
    (out += text.substr(at, found - at)) += to;
    at = found + from.size();
  }
  return out += text.substr(at);
}

std::vector<std::string> split(std::string_view text, std::string_view by, int64_t most) {
  std::vector<std::string> parts;
  if (!by.empty()) {
    size_t at = 0;
    for (size_t found; most != 0 && (found = text.find(by, at)) != std::string_view::npos; --most) {
      parts.emplace_back(text.substr(at, found - at));
      at = found + by.size();
    }
    parts.emplace_back(text.substr(at));
    return parts;
  }
  const std::vector<std::string> list = characters(text);
  for (size_t i = 0; i < list.size();) {
    if (is_space(list[i])) {
      ++i;
      continue;
    }
    const bool rest = most == 0;
    std::string part;
    for (; i < list.size() && (rest || !is_space(list[i])); ++i) part += list[i];
    parts.push_back(part);
    if (most > 0) --most;
  }
  return parts;
}

std::string printable(std::string_view text) {
  const bool single = text.find('\'') != std::string::npos, twice = text.find('"') != std::string::npos;
  const std::string quote = single && !twice ? "\"" : "'";
  std::string out = quote;
  for (const std::string& each : characters(text)) {
    const int32_t code = code_of(each);
    const auto category = utf8proc_category(code);
    const bool hidden = category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_ZS;
    if (each == quote || each == "\\") {
      out += "\\" + each;
    } else if (each == "\n" || each == "\r" || each == "\t") {
      out += each == "\n" ? "\\n" : each == "\r" ? "\\r" : "\\t";
    } else if (code >= 0 && hidden && each != " ") {
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    } else {
      out += each;
    }
  }
  return out + quote;
}

}  // namespace introspect::jinja
