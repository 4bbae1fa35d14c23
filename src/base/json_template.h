// For the precompiled headers alone: JSON's functions are compiled once, in json_template.cpp, and not in every file.
#pragma once

#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<nlohmann::ordered_map>;
