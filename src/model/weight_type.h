// Names of the types that weights are loaded in.
#pragma once

#include <string>

#include <c10/core/ScalarType.h>

namespace introspect {

// "fp32", "bf16", or "int8" (kChar: see LoadOptions). Throws Error for other names.
at::ScalarType parse_weight_type(const std::string& name);
std::string weight_type_name(at::ScalarType type);

}  // namespace introspect
