// The name map of the Llama family (see names.h).
#pragma once

#include "model/model.h"
#include "model/names.h"

#include <vector>

namespace introspect {

std::vector<NamedWeight> llama_weights(Model& model);
std::vector<NamedLinear> llama_linears(Model& model);

}  // namespace introspect
