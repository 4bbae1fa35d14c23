// What takes the place of a shared prefix in recurrent models: every text runs once, with stops on its way, and what
// differs from it behind a stop starts from the states there.
#pragma once

#include "model/forward.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace introspect {

// The position in front of which a text stops: number `index` of its stops.
struct StateStop {
  size_t text, index;
};

// Texts run side by side from their beginning. `visit` gets the states (a row a text) whenever some texts are in front
// of a stop of theirs, and those stops. Stops may come in any order and be equal; nothing behind a text's last one is
// run. Memory: the states of all texts.
void walk_states(const Model& model, const std::vector<std::vector<int64_t>>& texts,
                 const std::vector<std::vector<int64_t>>& stops, at::ScalarType compute,
                 const std::function<void(const States& states, const std::vector<StateStop>& at)>& visit);

}  // namespace introspect
