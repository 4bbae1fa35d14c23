// Parts of config.json that several families have.
#pragma once

#include "model/config.h"

#include <string>

namespace introspect {

// The max_positions of recurrent models, which have no limit of their own: a bound that nobody reaches.
constexpr int64_t unlimited_positions = int64_t{1} << 20;

// A count under `key`. Throws Error naming the key if it is missing or not positive.
int64_t read_size(const Json& json, const char* key, const std::string& label);
int64_t read_size_or(const Json& json, const char* key, int64_t otherwise, const std::string& label);

// Throws Error for a rotary scaling that is not supported, by name.
RopeScaling read_rope_scaling(const Json& json, const std::string& label);
void write_rope_scaling(const RopeScaling& scaling, Json& json);
// rope_theta, which newer versions of transformers write into rope_parameters.
double read_rope_theta(const Json& json, const char* key, const std::string& label);

// The activation named by `key` ("silu", "gelu", "gelu_new" and its other names). Throws Error for another.
Activation read_activation(const Json& json, const char* key, const char* otherwise, const std::string& label);

// The name to write; transformers has several for the tanh form.
std::string activation_name(Activation activation, const char* tanh_form);

// Throws Error if `key` is there and not `expected`: the model would compute something else.
void expect_setting(const Json& json, const char* key, bool expected, const std::string& label);

}  // namespace introspect
