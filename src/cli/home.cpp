#include "cli/home.h"

#include "base/error.h"

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

namespace introspect {

fs::path home_folder() {
  const char* given = std::getenv("INTROSPECT_HOME");
  const fs::path home = given ? fs::path(given) : fs::path(INTROSPECT_SOURCE_DIR);
  if (!fs::exists(home / "recipes")) {
    fail("home", fmt::format("no folder 'recipes' in {}", home.string()),
         "set INTROSPECT_HOME to the project's checkout");
  }
  return home;
}

Json published_models() {
  return read_json(home_folder() / "models" / "configs.json").at("models");
}

Json find_config(const std::string& name) {
  if (fs::is_regular_file(name)) return read_json(name);
  if (fs::is_regular_file(fs::path(name) / "config.json")) return read_json(fs::path(name) / "config.json");
  for (const Json& each : published_models()) {
    if (each.at("name").get<std::string>() == name) return each.at("config");
  }
  fail_usage("model", fmt::format("'{}' is no config.json, no folder with one and no published model", name),
             "'introspect model synthesize --list' names those");
}

std::vector<fs::path> shipped_recipes() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(home_folder() / "recipes")) {
    if (entry.path().extension() == ".toml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

fs::path find_recipe(const std::string& name) {
  if (fs::is_regular_file(name)) return name;
  const fs::path shipped = home_folder() / "recipes" / (name + ".toml");
  if (fs::is_regular_file(shipped)) return shipped;
  fail_usage("recipe", fmt::format("'{}' is neither a file nor a shipped recipe", name),
             "'introspect recipe ls' lists those");
}

fs::path find_recipe(const std::string& name, const std::string& task) {
  return find_recipe(name.empty() ? "demo-" + task : name);
}

}  // namespace introspect
