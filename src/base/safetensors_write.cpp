#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/safetensors_types.h"

#include <set>

#include <nlohmann/json.hpp>

namespace introspect {

void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names;
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto refuse = [&, &name_ = name](std::string_view message) {
      fail("safetensors", fmt::format("cannot write tensor '{}': {} ({})", name_, message, path.string()));
    };
    if (name == "__metadata__") refuse("the format keeps this name for itself");
    if (!names.insert(name).second) refuse("the name is given twice");
    if (!tensor.defined()) refuse("it is undefined");
    const SafetensorsType* type = find_safetensors_type(tensor.scalar_type());
    if (!type) refuse(fmt::format("the format has no type for {}", c10::toString(tensor.scalar_type())));
    const uint64_t bytes = static_cast<uint64_t>(tensor.numel()) * type->bytes;
    header[name] = {
        {"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {position, position + bytes}}};
    position += bytes;
  }
  // Blanks behind the header bring the first tensor to a multiple of 8, as the specification suggests.
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();

  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense = tensor.detach().to(at::kCPU).contiguous();  // only one copy lives at a time
    file.write(dense.data_ptr(), dense.nbytes());
  }
  file.commit();
}

}  // namespace introspect
