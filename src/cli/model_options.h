// What the commands that open a model have in common.
#pragma once

#include "model/model.h"

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace introspect {

struct ModelOptions {
  std::string folder;
  std::string adapter;         // a PEFT folder, or empty
  std::string dtype = "fp32";  // of the weights once loaded
};

void add_model_options(CLI::App& command, ModelOptions& options);

at::ScalarType weight_type(const std::string& name);

// Loads model and adapter. For weights over 1 GB an estimate of the memory goes to standard error before.
Model open_model(const ModelOptions& options);

// Token ids that end a generation: generation_config.json's, else config.json's.
std::vector<int64_t> end_tokens(const fs::path& folder);

// "1.24 GB", "350.0 MB"
std::string size_text(uint64_t bytes);

}  // namespace introspect
