#include "base/safetensors_types.h"

#include <torch/version.h>

namespace introspect {

namespace {

using enum at::ScalarType;

// Unsigned types of more than 8 bits: libtorch 2.3 knows them, but nearly no operation takes them.
constexpr SafetensorsType kTypes[] = {
    {"F32", 4, true, Float},
    {"BF16", 2, true, BFloat16},
    {"F16", 2, true, Half},
    {"F64", 8, true, Double},
    {"I64", 8, true, Long},
    {"I32", 4, true, Int},
    {"I16", 2, true, Short},
    {"I8", 1, true, Char},
    {"U8", 1, true, Byte},
    {"BOOL", 1, true, Bool},
    {"U16", 2, false},
    {"U32", 4, false},
    {"U64", 8, false},
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
    {"F8_E4M3", 1, true, Float8_e4m3fn},
    {"F8_E5M2", 1, true, Float8_e5m2},
#else
    {"F8_E4M3", 1, false},   {"F8_E5M2", 1, false},
#endif
};

}  // namespace

const SafetensorsType* find_safetensors_type(std::string_view name) {
  for (const SafetensorsType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

const SafetensorsType* find_safetensors_type(at::ScalarType scalar) {
  for (const SafetensorsType& type : kTypes) {
    if (type.supported && type.scalar == scalar) return &type;
  }
  return nullptr;
}

}  // namespace introspect
