#include "sae/saved_tensors.h"

#include "base/error.h"

#include <algorithm>

#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

namespace {

std::variant<Safetensors, Npz> open_file(const fs::path& path) {
  if (path.extension() == ".npz") return Npz(path);
  return Safetensors(path);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The least and the greatest are not finite if any number is not.
bool finite(const at::Tensor& values) {
  const auto [least, greatest] = at::aminmax(values);
  return std::isfinite(least.item<float>()) && std::isfinite(greatest.item<float>());
}

}  // namespace

SavedTensors::SavedTensors(const fs::path& path) : path_(path), file_(open_file(path)) {}

void SavedTensors::refuse(const std::string& message, std::string_view hint) const {
  fail("sae", fmt::format("{} ({})", message, path_.string()), hint);
}

std::vector<std::string> SavedTensors::names() const {
  std::vector<std::string> names;
  if (const Safetensors* file = std::get_if<Safetensors>(&file_)) {
    for (const auto& [name, info] : file->tensors()) names.push_back(name);
  } else {
    for (const auto& [name, header] : std::get<Npz>(file_).arrays()) names.push_back(name);
  }
  return names;
}

bool SavedTensors::contains(const std::string& name) const {
  if (const Safetensors* file = std::get_if<Safetensors>(&file_)) return file->contains(name);
  return std::get<Npz>(file_).arrays().contains(name);
}

const std::vector<int64_t>& SavedTensors::extents(const std::string& name) const {
  if (!contains(name)) {
    refuse(fmt::format("tensor '{}' is missing, the file has {}", name, fmt::join(names(), ", ")));
  }
  if (const Safetensors* file = std::get_if<Safetensors>(&file_)) return file->tensors().at(name).shape;
  return std::get<Npz>(file_).arrays().at(name).shape;
}

std::vector<int64_t> SavedTensors::shape(const std::string& name, size_t dimensions) const {
  const std::vector<int64_t>& found = extents(name);
  if (found.size() != dimensions || std::find(found.begin(), found.end(), 0) != found.end()) {
    refuse(fmt::format("tensor '{}': got shape {}, expected {} dimensions of at least 1", name, shape_text(found),
                       dimensions));
  }
  return found;
}

at::Tensor SavedTensors::take(const std::string& name, const std::vector<int64_t>& shape) {
  const std::vector<int64_t>& found = extents(name);
  if (found != shape) {
    refuse(fmt::format("tensor '{}': got shape {}, expected {}", name, shape_text(found), shape_text(shape)));
  }
  const Safetensors* mapped = std::get_if<Safetensors>(&file_);
  const at::Tensor stored = mapped ? mapped->get(name) : std::get<Npz>(file_).get(name);
  if (!stored.is_floating_point()) {
    refuse(
        fmt::format("tensor '{}': got {}, expected a floating-point type", name, c10::toString(stored.scalar_type())));
  }
  taken_.insert(name);
  // a mapped tensor is copied even where it is float32 already: the file may be changed later
  const bool own = !mapped && stored.scalar_type() == at::kFloat;
  const at::Tensor result = own ? stored : at::empty(shape, at::kFloat);
  if (result.numel() == 0) return result;
  // in slices of rows, so that the copy and the check go through the cache together
  const int64_t rows = result.dim() == 0 ? 1 : result.size(0);
  const int64_t slice = std::max<int64_t>(1, (int64_t{1} << 20) * rows / result.numel());
  for (int64_t begin = 0; begin < rows; begin += slice) {
    const int64_t count = std::min(slice, rows - begin);
    const at::Tensor part = result.dim() == 0 ? result : result.narrow(0, begin, count);
    if (!own) part.copy_(result.dim() == 0 ? stored : stored.narrow(0, begin, count));
    if (!finite(part)) refuse(fmt::format("tensor '{}' holds numbers that are not finite in float32", name));
  }
  return result;
}

void SavedTensors::expect_all_taken() const {
  for (const std::string& name : names()) {
    if (!taken_.contains(name)) {
      refuse(fmt::format("tensor '{}' has no meaning in this layout and architecture", name),
             "a SAE whose file holds more than is read here would be computed wrongly");
    }
  }
}

}  // namespace introspect
