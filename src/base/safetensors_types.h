// The dtypes of the safetensors format and what libtorch calls them; for safetensors*.cpp only.
#pragma once

#include <cstdint>
#include <string_view>

#include <c10/core/ScalarType.h>

namespace introspect {

struct SafetensorsType {
  std::string_view name;
  uint64_t bytes;
  bool supported;  // by the libtorch at hand
  at::ScalarType scalar = at::ScalarType::Undefined;
};

// Null for a name that the format does not have.
const SafetensorsType* find_safetensors_type(std::string_view name);
// Null for a libtorch type that the format does not have (complex, quantized).
const SafetensorsType* find_safetensors_type(at::ScalarType scalar);

}  // namespace introspect
