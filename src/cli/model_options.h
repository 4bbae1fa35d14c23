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
  std::string device_map = "cpu";
};

void add_model_options(CLI::App& command, ModelOptions& options);

// Loads model and adapter, the weights as views of the files where that is possible: they are to be read alone. For
// weights over 1 GB their type and an estimate of the memory go to standard error before.
Model open_model(const ModelOptions& options);

// Token ids that end a generation: generation_config.json's, else config.json's.
std::vector<int64_t> end_tokens(const fs::path& folder);

// What the kernel says a new program may still take, in bytes; 0 if it does not say.
uint64_t free_memory();

// "1.24 GB", "350.0 MB"
std::string size_text(uint64_t bytes);

}  // namespace introspect
