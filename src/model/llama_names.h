// The name map of the Llama family (see names.h).
#pragma once

#include <vector>

#include "model/model.h"
#include "model/names.h"

namespace introspect {

std::vector<NamedWeight> llama_weights(Model& model);
std::vector<NamedLinear> llama_linears(Model& model);

}  // namespace introspect
