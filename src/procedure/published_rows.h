// What the imports of published data sets share.
#pragma once

#include "procedure/published.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

// Columns of a published layout. "patch_position.orig_pos" names a field of a struct.
struct PublishedColumns {
  std::vector<std::string> needed, optional;
};

// Every row of every split that is wanted. `visit` gets the split and "train-000017", which names the row.
void for_each_published_row(const std::vector<fs::path>& paths, const PublishedColumns& columns,
                            const ImportSettings& settings, ImportReport& report,
                            const std::function<void(Split, const std::string& id, const Json& row)>& visit);

// A value as text: text as it is, numbers as they are written, of a list the one element. Nothing: null or more.
std::optional<std::string> published_text(const Json& value);
std::string required_text(const Json& row, const std::string& key, const std::string& id);

// Moves a share of the train clusters to validation if the data set has none, and counts what stands in two splits.
void split_published(Dataset& dataset, const ImportSettings& settings, ImportReport& report);

}  // namespace introspect
