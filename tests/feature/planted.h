// Features and simulators whose scores are known in closed form, and what they take from the small world.
#pragma once

#include "feature/contexts.h"
#include "feature/simulator.h"
#include "train/small_world.h"

#include <cstdint>
#include <string>
#include <vector>

namespace introspect::planted {

// Reads "token 7" (1 on that token), "not token 7" (-1 on it), "place 3" (1 on that position), "piece 7" (1 on every
// token of a piece that holds it), "constant" (2 everywhere). Nothing else.
class PlantedSimulator : public Simulator {
 public:
  std::optional<at::Tensor> simulate(const std::string& description, const at::Tensor& tokens) const override {
    ++calls;
    const size_t blank = description.rfind(' ');
    const int64_t number = blank == std::string::npos ? 0 : std::stoll(description.substr(blank));
    const at::Tensor here = tokens.eq(number);
    if (description.starts_with("token")) return here.to(at::kFloat);
    if (description.starts_with("not token")) return here.to(at::kFloat) * -1;
    if (description.starts_with("piece")) return here.any(1, true).expand_as(tokens).to(at::kFloat);
    if (description == "constant") return at::full(tokens.sizes(), 2.0f);
    if (description.starts_with("place")) {
      const at::Tensor values = at::zeros(tokens.sizes());
      values.select(1, number).fill_(1);
      return values;
    }
    return std::nullopt;
  }
  mutable int calls = 0;
};

// Pieces of `length` tokens: BOS (999), then tokens of 100 to 199. The top ones have `token` at position 3, on which
// the feature fires with `value`; the others do not have it.
inline FeatureContexts contexts(int64_t top, int64_t near_miss, int64_t random, int64_t length = 8, int64_t token = 7,
                                float value = 1) {
  FeatureContexts made;
  made.layer = 1;
  made.latent = 5;
  const int64_t count = top + near_miss + random;
  made.tokens = at::empty({count, length}, at::kInt);
  made.activations = at::zeros({count, length});
  Random draw(4, "planted");
  for (int64_t i = 0; i < count; ++i) {
    int32_t* row = made.tokens.data_ptr<int32_t>() + i * length;
    row[0] = 999;
    for (int64_t t = 1; t < length; ++t) row[t] = 100 + static_cast<int32_t>(draw.below(100));
    made.kinds.push_back(i < top               ? ContextKind::top
                         : i < top + near_miss ? ContextKind::near_miss
                                               : ContextKind::random);
    if (i >= top) continue;
    row[3] = static_cast<int32_t>(token);
    made.activations.data_ptr<float>()[i * length + 3] = value;
  }
  return made;
}

}  // namespace introspect::planted
