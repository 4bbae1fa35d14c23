#include "base/json.h"

#include "base/error.h"
#include "base/files.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// A value as it may stand in a message: short, and on one line.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) {
    // Cut before a character's first byte, never within it.
    size_t end = 60;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "...";
  }
  return text;
}

std::string kind_of(const Json& value) {
  if (value.is_number_float()) return "decimal number";
  if (value.is_number()) return "integer";
  return value.type_name();
}

template <class T>
struct Wanted;  // how messages call the type, and what may stand for it
template <>
struct Wanted<bool> {
  static constexpr const char* name = "true or false";
  static bool fits(const Json& value) { return value.is_boolean(); }
};
template <>
struct Wanted<int64_t> {
  static constexpr const char* name = "an integer";
  static bool fits(const Json& value) {
    if (value.is_number_unsigned()) return value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    return value.is_number_integer();
  }
};
template <>
struct Wanted<int> {
  static constexpr const char* name = "an integer of 32 bits";
  static bool fits(const Json& value) {
    if (!Wanted<int64_t>::fits(value)) return false;
    const auto number = value.get<int64_t>();
    return number >= INT32_MIN && number <= INT32_MAX;
  }
};
template <>
struct Wanted<double> {
  static constexpr const char* name = "a number";
  static bool fits(const Json& value) { return value.is_number(); }
};
template <>
struct Wanted<std::string> {
  static constexpr const char* name = "a string";
  static bool fits(const Json& value) { return value.is_string(); }
};
template <class Element>
struct Wanted<std::vector<Element>> {
  static constexpr const char* name = std::is_same_v<Element, std::string> ? "a list of strings"
                                      : std::is_same_v<Element, double>    ? "a list of numbers"
                                                                           : "a list of integers";
  static bool fits(const Json& value) {
    if (!value.is_array()) return false;
    for (const Json& element : value) {
      if (!Wanted<Element>::fits(element)) return false;
    }
    return true;
  }
};

const Json* find(const Json& object, const std::string& key, std::string_view label) {
  if (!object.is_object()) {
    fail("json",
         fmt::format("{}: got {} ({}), expected an object with key '{}'", label, shown(object), kind_of(object), key));
  }
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

template <class T>
T typed(const Json& value, const std::string& key, std::string_view label) {
  if (!Wanted<T>::fits(value)) {
    fail("json", fmt::format("{}: key '{}': got {} ({}), expected {}", label, key, shown(value), kind_of(value),
                             Wanted<T>::name));
  }
  return value.get<T>();
}

}  // namespace

Json read_json(const fs::path& path) {
  return parse_json(read_text(path), path.string());
}

void for_each_json_line(const fs::path& path, const std::function<void(size_t line, const Json&)>& visit) {
  const std::string text = read_text(path);
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    visit(number, parse_json(line, fmt::format("{}:{}", path.string(), number)));
  }
}

std::vector<Json> read_json_lines(const fs::path& path) {
  std::vector<Json> lines;
  for_each_json_line(path, [&](size_t, const Json& value) { lines.push_back(value); });
  return lines;
}

void write_json(const fs::path& path, const Json& value) {
  // Text that is no UTF-8 (a model may generate it) becomes U+FFFD rather than an exception after hours of work.
  write_text(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void write_json_lines(const fs::path& path, const std::vector<Json>& lines) {
  AtomicFile file(path);
  for (const Json& line : lines) file.write(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  file.commit();
}

template <class T>
T json_get(const Json& object, const std::string& key, std::string_view label) {
  const Json* value = find(object, key, label);
  if (!value) fail("json", fmt::format("{}: key '{}' is missing, expected {}", label, key, Wanted<T>::name));
  return typed<T>(*value, key, label);
}

template <class T>
T json_get_or(const Json& object, const std::string& key, T otherwise, std::string_view label) {
  const Json* value = find(object, key, label);
  if (!value || value->is_null()) return otherwise;
  return typed<T>(*value, key, label);
}

template bool json_get(const Json&, const std::string&, std::string_view);
template int64_t json_get(const Json&, const std::string&, std::string_view);
template int json_get(const Json&, const std::string&, std::string_view);
template double json_get(const Json&, const std::string&, std::string_view);
template std::string json_get(const Json&, const std::string&, std::string_view);
template std::vector<int64_t> json_get(const Json&, const std::string&, std::string_view);
template std::vector<double> json_get(const Json&, const std::string&, std::string_view);
template std::vector<std::string> json_get(const Json&, const std::string&, std::string_view);

template bool json_get_or(const Json&, const std::string&, bool, std::string_view);
template int64_t json_get_or(const Json&, const std::string&, int64_t, std::string_view);
template int json_get_or(const Json&, const std::string&, int, std::string_view);
template double json_get_or(const Json&, const std::string&, double, std::string_view);
template std::string json_get_or(const Json&, const std::string&, std::string, std::string_view);
template std::vector<int64_t> json_get_or(const Json&, const std::string&, std::vector<int64_t>, std::string_view);
template std::vector<double> json_get_or(const Json&, const std::string&, std::vector<double>, std::string_view);
template std::vector<std::string> json_get_or(const Json&, const std::string&, std::vector<std::string>,
                                              std::string_view);

}  // namespace introspect
