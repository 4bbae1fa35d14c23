#include "base/json_template.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;
