#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

#include <sstream>

#include <nlohmann/json.hpp>
#include <toml++/toml.h>

namespace introspect {

namespace {

// Dates and times keep their written form, as strings: no setting of ours is a date.
template <class Date>
std::string as_text(const Date& date) {
  std::ostringstream stream;
  stream << date;
  return stream.str();
}

Json to_json(const toml::node& node) {
  if (const auto* table = node.as_table()) {
    Json object = Json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value);
    return object;
  }
  if (const auto* array = node.as_array()) {
    Json list = Json::array();
    for (const toml::node& value : *array) list.push_back(to_json(value));
    return list;
  }
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_boolean()) return value->get();
  if (const auto* value = node.as_date()) return as_text(value->get());
  if (const auto* value = node.as_time()) return as_text(value->get());
  if (const auto* value = node.as_date_time()) return as_text(value->get());
  fail("toml", "a value of a kind that TOML does not have");
}

}  // namespace

// toml++ keeps tables sorted by key, so that the order of the file is lost; nothing of ours depends on it.
Json parse_toml(std::string_view text, std::string_view label) {
  try {
    return to_json(toml::parse(text));
  } catch (const toml::parse_error& error) {
    const auto& place = error.source().begin;
    fail("toml", fmt::format("{} ({}:{}:{})", error.description(), label, place.line, place.column));
  }
}

Json read_toml(const fs::path& path) {
  return parse_toml(read_text(path), path.string());
}

}  // namespace introspect
