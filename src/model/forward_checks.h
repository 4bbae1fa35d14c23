// What a pass is given, looked at before anything is computed.
#pragma once

#include "model/forward.h"

namespace introspect {

// Throws Error for what does not fit the model (see forward). Returns the largest position.
int64_t check_input(const Model& model, const Packed& input, const ForwardOptions& options, int64_t last_layer);

}  // namespace introspect
