#include "experiment/recipe_tables.h"

#include "base/error.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

std::string absolute_path(const std::string& path, const fs::path& base) {
  return fs::path(path).is_absolute() ? path : fs::absolute(base / path).lexically_normal().string();
}

void make_texts_absolute(Json& tables, const fs::path& base) {
  for (Json& table : tables) {
    for (const char* key : {"facts", "folder"}) {
      if (table.contains(key)) table[key] = absolute_path(table.at(key).get<std::string>(), base);
    }
    if (!table.contains("paths")) continue;
    for (Json& each : table.at("paths")) each = absolute_path(each.get<std::string>(), base);
  }
}

void check_keys(const Json& table, const std::set<std::string>& known, const std::string& name,
                const std::string& label) {
  if (!table.is_object()) fail_usage("recipe", fmt::format("[{}] is no table ({})", name, label));
  for (const auto& [key, value] : table.items()) {
    if (known.contains(key)) continue;
    fail_usage("recipe", fmt::format("unknown key '{}{}{}', expected one of {} ({})", name, name.empty() ? "" : ".",
                                     key, fmt::join(known, ", "), label));
  }
}

const Json& table_of(const Json& json, const char* name, const std::string& label) {
  if (!json.contains(name)) fail_usage("recipe", fmt::format("no table [{}] ({})", name, label));
  return json.at(name);
}

Json task_json(const Json& table, const fs::path& base, const std::string& label, fs::path& path) {
  path = absolute_path(json_get<std::string>(table, "recipe", label), base);
  Json json = read_toml(path);
  for (const char* key : {"search", "variant", "generalisation", "transfer"}) json.erase(key);
  if (table.contains("changes")) json.merge_patch(table.at("changes"));
  return json;
}

}  // namespace introspect
