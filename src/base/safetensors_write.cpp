#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/safetensors_types.h"

#include <set>

#include <nlohmann/json.hpp>

namespace introspect {

void write_safetensors(const fs::path& path, const std::vector<TensorOutline>& tensors,
                       const std::function<at::Tensor(size_t)>& values,
                       const std::map<std::string, std::string>& metadata) {
  const auto refuse = [&](const TensorOutline& tensor, std::string_view message) {
    fail("safetensors", fmt::format("cannot write tensor '{}': {} ({})", tensor.name, message, path.string()));
  };
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names;
  uint64_t position = 0;
  for (const TensorOutline& tensor : tensors) {
    if (tensor.name == "__metadata__") refuse(tensor, "the format keeps this name for itself");
    if (!names.insert(tensor.name).second) refuse(tensor, "the name is given twice");
    const SafetensorsType* type = find_safetensors_type(tensor.dtype);
    if (!type) refuse(tensor, fmt::format("the format has no type for {}", c10::toString(tensor.dtype)));
    uint64_t bytes = type->bytes;
    for (int64_t extent : tensor.shape) bytes *= static_cast<uint64_t>(extent);
    header[tensor.name] = {
        {"dtype", type->name}, {"shape", tensor.shape}, {"data_offsets", {position, position + bytes}}};
    position += bytes;
  }
  // Blanks behind the header bring the first tensor to a multiple of 8, as the specification suggests.
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();

  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor dense = values(i).detach().to(at::kCPU).contiguous();  // only one copy lives at a time
    if (dense.scalar_type() != tensors[i].dtype || dense.sizes() != at::IntArrayRef(tensors[i].shape)) {
      refuse(tensors[i], "its values have another type or shape than was announced");
    }
    file.write(dense.data_ptr(), dense.nbytes());
  }
  file.commit();
}

void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorOutline> outlines;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) {
      fail("safetensors", fmt::format("cannot write tensor '{}': it is undefined ({})", name, path.string()));
    }
    outlines.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  write_safetensors(
      path, outlines, [&](size_t i) { return tensors[i].second; }, metadata);
}

}  // namespace introspect
