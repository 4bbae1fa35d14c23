// JSON, JSONL and TOML reading with errors that name the file, the key and the line.
//
// Json keeps the order of keys, and so finds a key by going through them: read a vocabulary of 100,000 entries by
// iterating over items(), never by looking up its keys one by one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace introspect {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// The whole file as JSON. Throws Error naming the path and the byte of the first fault.
Json read_json(const fs::path& path);
Json parse_json(std::string_view text, std::string_view label);
// The same, but a key that an object holds twice is an Error (elsewhere its last value counts, as in Python).
Json parse_json_unique(std::string_view text, std::string_view label);

// Every line of a JSONL file, in order; empty lines are passed over. Throws Error "(path:line)" on a broken line.
void for_each_json_line(const fs::path& path, const std::function<void(size_t line, const Json&)>& visit);
std::vector<Json> read_json_lines(const fs::path& path);

// A TOML file as JSON (dates become strings). Throws Error with line and column.
Json read_toml(const fs::path& path);
Json parse_toml(std::string_view text, std::string_view label);

// Writes `value` indented by two blanks and a newline, atomically (see files.h).
void write_json(const fs::path& path, const Json& value);
void write_json_lines(const fs::path& path, const std::vector<Json>& lines);

// Typed access: value of `key` in `object`, or an Error naming key, wanted type, what stood there, and `label` (a
// path). Instantiated for bool, int64_t, int, double, std::string, std::vector<int64_t>, std::vector<double>,
// std::vector<std::string>.
template <class T>
T json_get(const Json& object, const std::string& key, std::string_view label);
// The same with a value for an absent or null key.
template <class T>
T json_get_or(const Json& object, const std::string& key, T otherwise, std::string_view label);

}  // namespace introspect
