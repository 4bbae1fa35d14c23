// The layers of one model on several devices: which device holds which.
#pragma once

#include "model/config.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace introspect {

// "cuda:0=20,cuda:1=rest": so many layers on each device, in order; "rest", at the end, is all that are left. One
// device alone ("cuda:0") holds everything. The embedding lies with the first layer, final norm and head with the last,
// LoRA factors, keys and values with their layer. Returns the device of each layer. Throws Error for text that is
// something else, devices that libtorch does not know by name, and numbers that do not add up to `layers`.
std::vector<at::Device> parse_device_map(const std::string& text, int64_t layers);

// "cuda:0=80GB,cuda:1=80GB,cpu=64GB": what each device may hold. Units are powers of ten: B, KB, MB, GB, TB.
struct DeviceMemory {
  at::Device device;
  uint64_t bytes = 0;
};
std::vector<DeviceMemory> parse_device_memory(const std::string& text);
uint64_t parse_size(const std::string& text, const std::string& option);  // "24GB" in bytes

// Layers one after the other on the first device that has room for them. `first`, `layer` and `last` are the bytes of
// the embedding, of one layer and of norm and head (with whatever else a pass needs there). Returns text that
// parse_device_map reads. Throws Error where the model does not fit, saying how much is missing.
std::string place_layers(int64_t layers, uint64_t first, uint64_t layer, uint64_t last,
                         const std::vector<DeviceMemory>& devices);

}  // namespace introspect
