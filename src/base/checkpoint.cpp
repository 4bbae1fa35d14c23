#include "base/error.h"
#include "base/json.h"
#include "base/safetensors.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string_view missing_hint(const fs::path& folder, const std::string& stem) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return "there is no such folder: check the path";
  if (fs::exists(folder / "pytorch_model.bin", ignored) || fs::exists(folder / (stem + ".bin"), ignored) ||
      fs::exists(folder / "pytorch_model.bin.index.json", ignored)) {
    return "the folder has pickled .bin weights, which can run code when read: convert them with safetensors' "
           "convert.py";
  }
  return "give the folder that holds config.json and the weights";
}

// The map name -> shard of the index file.
std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  const Json json = read_json(index);
  const auto found = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object()) {
    fail("checkpoint", fmt::format("no object 'weight_map' ({})", index.string()));
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : found->items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    // A shard is a file of this folder: an index from elsewhere must not make us open others.
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..") {
      fail("checkpoint", fmt::format("tensor '{}': got shard {}, expected the name of a file of the folder ({})", name,
                                     shard.dump(-1, ' ', true), index.string()));
    }
    shard_of[name] = file;
  }
  if (shard_of.empty()) fail("checkpoint", fmt::format("'weight_map' is empty ({})", index.string()));
  return shard_of;
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& folder, const std::string& stem) : folder_(folder) {
  const fs::path single = folder / (stem + ".safetensors");
  const fs::path index = folder / (stem + ".safetensors.index.json");
  std::error_code ignored;
  // Both may be there after a conversion; Hugging Face takes the single file, and so do we.
  if (fs::exists(single, ignored)) {
    const Safetensors file(single);
    for (const auto& [name, info] : file.tensors()) where_.emplace(name, file);
    return;
  }
  if (!fs::exists(index, ignored)) {
    fail("checkpoint",
         fmt::format("found neither {} nor {} ({})", single.filename().string(), index.filename().string(),
                     folder.string()),
         missing_hint(folder, stem));
  }
  std::map<std::string, Safetensors> shards;
  for (const auto& [name, shard] : read_weight_map(index)) {
    auto found = shards.find(shard);
    if (found == shards.end()) {
      if (!fs::exists(folder / shard, ignored)) {
        fail("checkpoint", fmt::format("tensor '{}': shard {} is missing ({})", name, shard, index.string()),
             "the download is incomplete: get the missing file");
      }
      found = shards.emplace(shard, Safetensors(folder / shard)).first;
    }
    if (!found->second.contains(name)) {
      fail("checkpoint",
           fmt::format("tensor '{}': the index names shard {}, which does not hold it ({})", name, shard,
                       index.string()),
           "index and shards are not from the same version of the model");
    }
    where_.emplace(name, found->second);
  }
}

bool Checkpoint::contains(const std::string& name) const {
  return where_.count(name) > 0;
}

at::Tensor Checkpoint::get(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end()) fail("checkpoint", fmt::format("no tensor '{}' ({})", name, folder_.string()));
  return found->second.get(name);
}

void Checkpoint::let_go(const std::string& name) const {
  if (const auto found = where_.find(name); found != where_.end()) found->second.let_go(name);
}

const TensorInfo& Checkpoint::info(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end()) fail("checkpoint", fmt::format("no tensor '{}' ({})", name, folder_.string()));
  return found->second.tensors().at(name);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> all;
  all.reserve(where_.size());
  for (const auto& [name, file] : where_) all.push_back(name);
  return all;
}

uint64_t Checkpoint::bytes() const {
  uint64_t sum = 0;
  for (const auto& [name, file] : where_) sum += file.tensors().at(name).bytes;
  return sum;
}

}  // namespace introspect
