// How many facts a model knows: said in statements, and chosen among options.
#pragma once

#include "model/model.h"
#include "procedure/records.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace introspect {

struct FactAccuracy {
  int64_t facts = 0;
  int64_t statements_right = 0;  // of one statement a fact, its template drawn
  int64_t options_right = 0;     // of one option prompt a fact
};

// A fact counts as known if every token of " <object>" is the most likely one behind those before it. `limit` facts
// drawn by `seed`; 0: all. By relation, and all together under "". `report` gets done and total counts.
std::map<std::string, FactAccuracy> check_facts(const Model& model, const Tokenizer& tokenizer, const FactTable& table,
                                                uint64_t seed, int64_t limit,
                                                const std::function<void(int64_t, int64_t)>& report = {});

}  // namespace introspect
