#include "model/weight_type.h"

#include "base/error.h"

namespace introspect {

at::ScalarType parse_weight_type(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "int8") return at::kChar;
  fail_usage("dtype", fmt::format("got '{}', expected fp32, bf16 or int8", name));
}

std::string weight_type_name(at::ScalarType type) {
  return type == at::kChar ? "int8" : type == at::kBFloat16 ? "bf16" : "fp32";
}

}  // namespace introspect
