// Where the project's own files are: recipes, models, facts.
#pragma once

#include "base/json.h"

#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// $INTROSPECT_HOME, or the checkout that the program was built from. Throws Error if there are no recipes in it.
fs::path home_folder();
// Configurations of published models: models/configs.json in it, {"models": [{"name", "parameters", "config"}]}.
Json published_models();
// A config.json, a folder that holds one, or the name of a published model. Throws Error(usage) if it is none of them.
Json find_config(const std::string& name);
std::vector<fs::path> shipped_recipes();  // sorted
// A file, or a shipped recipe by name ("demo", "pretrain/tiny-llama"). Throws Error(usage) if it is neither.
fs::path find_recipe(const std::string& name);
// The same; without a name the demo's for a data set's task ("patching").
fs::path find_recipe(const std::string& name, const std::string& task);

}  // namespace introspect
