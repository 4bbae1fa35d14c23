// What each family's own files give to the list in names.cpp (see Family in names.h).
#pragma once

#include "model/model.h"
#include "model/names.h"

#include <string>
#include <vector>

namespace introspect {

// Llama and what is named like it. Each reads its own config.json; all write the values that they were read from.
void read_llama(const Json& json, const std::string& label, ModelConfig& config);
void read_mistral(const Json& json, const std::string& label, ModelConfig& config);
void read_qwen2(const Json& json, const std::string& label, ModelConfig& config);
void read_qwen3(const Json& json, const std::string& label, ModelConfig& config);
void write_llama(const ModelConfig& config, Json& json);
void write_mistral(const ModelConfig& config, Json& json);
void write_qwen2(const ModelConfig& config, Json& json);
std::vector<NamedWeight> llama_weights(Model& model);
std::vector<NamedLinear> llama_linears(Model& model);

void read_gemma2(const Json& json, const std::string& label, ModelConfig& config);
void write_gemma2(const ModelConfig& config, Json& json);

void read_gpt2(const Json& json, const std::string& label, ModelConfig& config);
void write_gpt2(const ModelConfig& config, Json& json);
std::vector<NamedWeight> gpt2_weights(Model& model);
std::vector<NamedLinear> gpt2_linears(Model& model);

void read_gpt_neox(const Json& json, const std::string& label, ModelConfig& config);
void write_gpt_neox(const ModelConfig& config, Json& json);
std::vector<NamedWeight> gpt_neox_weights(Model& model);
std::vector<NamedLinear> gpt_neox_linears(Model& model);

void read_mamba(const Json& json, const std::string& label, ModelConfig& config);
void write_mamba(const ModelConfig& config, Json& json);
std::vector<NamedWeight> mamba_weights(Model& model);
std::vector<NamedLinear> mamba_linears(Model& model);
void initialise_mamba(Model& model, uint64_t seed);

void read_rwkv7(const Json& json, const std::string& label, ModelConfig& config);
void write_rwkv7(const ModelConfig& config, Json& json);
std::vector<NamedWeight> rwkv7_weights(Model& model);
std::vector<NamedLinear> rwkv7_linears(Model& model);
void initialise_rwkv7(Model& model, uint64_t seed);

}  // namespace introspect
