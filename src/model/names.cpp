#include "model/names.h"

#include "base/error.h"
#include "model/llama_names.h"
#include "model/model.h"

namespace introspect {

namespace {

struct Family {
  const char* name;
  std::vector<NamedWeight> (*weights)(Model&);
  std::vector<NamedLinear> (*linears)(Model&);
};

constexpr Family families[] = {
    {"llama", llama_weights, llama_linears},
    {"qwen3", llama_weights, llama_linears},
};

const Family& family_of(const ModelConfig& config) {
  for (const Family& family : families) {
    if (config.family == family.name) return family;
  }
  fail("config", fmt::format("model_type: '{}' is not supported", config.family));
}

}  // namespace

void check_family(const std::string& name, const std::string& label) {
  std::string known;
  for (const Family& family : families) {
    if (name == family.name) return;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  fail("config", fmt::format("model_type: got '{}', expected one of {} ({})", name, known, label),
       "docs/ADDING_A_MODEL.md says how a family is added");
}

std::vector<NamedWeight> named_weights(Model& model) {
  model.blocks.resize(model.config.layers);
  return family_of(model.config).weights(model);
}

std::vector<NamedLinear> named_linears(Model& model) {
  return family_of(model.config).linears(model);
}

std::vector<WeightShape> expected_weights(const ModelConfig& config) {
  Model model;
  model.config = config;
  std::vector<WeightShape> shapes;
  for (NamedWeight& weight : named_weights(model)) shapes.push_back({weight.name, weight.shape});
  return shapes;
}

}  // namespace introspect
