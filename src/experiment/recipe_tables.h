// What recipes of every kind read alike.
#pragma once

#include "base/json.h"
#include "experiment/recipe.h"

#include <set>
#include <string>

namespace introspect {

// `path` as it is meant in a recipe that lies in `base`.
std::string absolute_path(const std::string& path, const fs::path& base);

// Texts ([[text]] tables, train/corpus.h) are named relative to the recipe that has them: `tables` gets absolute paths,
// so that a recipe elsewhere can have them.
void make_texts_absolute(Json& tables, const fs::path& base);

// Throws Error for what is no table, and for a key that is not known, naming those that are. `name`: of the table, or
// empty.
void check_keys(const Json& table, const std::set<std::string>& known, const std::string& name,
                const std::string& label);
// Throws Error if there is none.
const Json& table_of(const Json& json, const char* name, const std::string& label);

// The recipe that a [[task]] table names, with its `changes` merged in, without what asks other questions of it:
// search, variants, generalisation and transfers. `path` becomes where it lies.
Json task_json(const Json& table, const fs::path& base, const std::string& label, fs::path& path);

}  // namespace introspect
