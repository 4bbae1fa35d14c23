#include "model/config_parts.h"

#include "base/error.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Newer versions of transformers write theta and scaling together, as rope_parameters.
const Json* rope_object(const Json& json) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = json.find(key);
    if (found != json.end() && found->is_object()) return &*found;
  }
  return nullptr;
}

int64_t positive(int64_t value, const char* key, const std::string& label) {
  if (value <= 0 || value > (int64_t{1} << 32)) {
    fail("config", fmt::format("key '{}': got {}, expected a positive number ({})", key, value, label));
  }
  return value;
}

}  // namespace

int64_t read_size(const Json& json, const char* key, const std::string& label) {
  return positive(json_get<int64_t>(json, key, label), key, label);
}

int64_t read_size_or(const Json& json, const char* key, int64_t otherwise, const std::string& label) {
  return positive(json_get_or<int64_t>(json, key, otherwise, label), key, label);
}

RopeScaling read_rope_scaling(const Json& config, const std::string& label) {
  RopeScaling scaling;
  const Json* found = rope_object(config);
  if (!found) return scaling;
  const Json& json = *found;
  const std::string kind = json.contains("rope_type") ? json_get<std::string>(json, "rope_type", label)
                                                      : json_get<std::string>(json, "type", label);
  if (kind == "default") return scaling;
  scaling.factor = json_get<double>(json, "factor", label);
  if (!(scaling.factor > 0)) {
    fail("config", fmt::format("rope_scaling.factor: got {}, expected a positive number ({})", scaling.factor, label));
  }
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (kind == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = json_get<double>(json, "low_freq_factor", label);
    scaling.high_frequency_factor = json_get<double>(json, "high_freq_factor", label);
    scaling.original_positions = json_get<double>(json, "original_max_position_embeddings", label);
  } else {
    fail("config", fmt::format("rope_scaling: got '{}', expected default, linear or llama3 ({})", kind, label),
         "this checkpoint's rotary scaling is not supported; its logits would be wrong");
  }
  return scaling;
}

void write_rope_scaling(const RopeScaling& scaling, Json& json) {
  switch (scaling.kind) {
    case RopeScaling::Kind::none:
      json["rope_scaling"] = nullptr;
      break;
    case RopeScaling::Kind::linear:
      json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", scaling.factor}};
      break;
    case RopeScaling::Kind::llama3:
      json["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", scaling.factor},
                              {"low_freq_factor", scaling.low_frequency_factor},
                              {"high_freq_factor", scaling.high_frequency_factor},
                              {"original_max_position_embeddings", scaling.original_positions}};
      break;
  }
}

double read_rope_theta(const Json& json, const char* key, const std::string& label) {
  const Json* rope = rope_object(json);
  if (rope && rope->contains("rope_theta")) return json_get<double>(*rope, "rope_theta", label);
  return json_get_or<double>(json, key, 10000.0, label);
}

Activation read_activation(const Json& json, const char* key, const char* otherwise, const std::string& label) {
  const std::string name = json_get_or<std::string>(json, key, otherwise, label);
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::gelu_tanh;
  fail("config",
       fmt::format("{}: got '{}', expected silu, gelu, gelu_new or gelu_pytorch_tanh ({})", key, name, label));
}

std::string activation_name(Activation activation, const char* tanh_form) {
  switch (activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return tanh_form;
    case Activation::squared_relu:
      return "sqrelu";
  }
  return "";
}

void expect_setting(const Json& json, const char* key, bool expected, const std::string& label) {
  if (json_get_or<bool>(json, key, expected, label) == expected) return;
  fail("config", fmt::format("{}: got {}, which is not supported ({})", key, !expected, label));
}

}  // namespace introspect
