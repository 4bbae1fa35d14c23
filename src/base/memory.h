// Memory of this process.
#pragma once

#include <cstdint>

namespace introspect {

// Bytes of the largest resident set so far, mapped files included; 0 where the system does not say (Linux does).
uint64_t peak_memory();

}  // namespace introspect
