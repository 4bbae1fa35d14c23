#include "base/safetensors.h"

#include "base/error.h"
#include "base/json.h"
#include "base/safetensors_types.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <nlohmann/json.hpp>

namespace introspect {

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian numbers");

// The bytes of the file, and what its header says about them.
struct Safetensors::Mapping {
  fs::path path;
  const unsigned char* bytes = nullptr;
  uint64_t size = 0;
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;

  explicit Mapping(const fs::path& file);
  ~Mapping() {
    if (bytes) ::munmap(const_cast<unsigned char*>(bytes), size);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

 private:
  void map();
  void read_header();
  void read_metadata(const Json& values);
  TensorInfo read_tensor(const std::string& name, const Json& value, uint64_t data_begin) const;
  void check_layout(uint64_t data_begin) const;
  [[noreturn]] void refuse(std::string_view message, std::string_view hint = {}) const {
    fail("safetensors", fmt::format("{} ({})", message, path.string()), hint);
  }
};

namespace {

constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the reference implementation
constexpr std::string_view kTruncated = "the file may be truncated: compare its size with the original, copy it again";

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// A JSON value as an offset or an extent. False for negative numbers, fractions and whatever is no number.
bool as_count(const Json& value, uint64_t limit, uint64_t& count) {
  if (!value.is_number_unsigned()) return false;
  count = value.get<uint64_t>();
  return count <= limit;
}

std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 80) + "..." : text;
}

}  // namespace

Safetensors::Mapping::Mapping(const fs::path& file) : path(file) {
  map();
  try {
    read_header();
  } catch (...) {
    ::munmap(const_cast<unsigned char*>(bytes), size);  // a constructor that throws runs no destructor
    throw;
  }
}

void Safetensors::Mapping::map() {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) refuse("cannot open: " + std::system_category().message(errno));
  struct stat status = {};
  const bool known = ::fstat(descriptor, &status) == 0;
  const int code = errno;
  const char* problem = !known ? "cannot read its size" : !S_ISREG(status.st_mode) ? "not a file" : nullptr;
  if (!problem && status.st_size < 8) problem = "shorter than 8 bytes, expected the length of the header there";
  if (problem) {
    ::close(descriptor);
    refuse(known ? problem : fmt::format("{}: {}", problem, std::system_category().message(code)),
           known && S_ISREG(status.st_mode) ? kTruncated : std::string_view());
  }
  size = static_cast<uint64_t>(status.st_size);
  // Private and read-only: pages come from the page cache and are shared between processes.
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int map_code = errno;
  ::close(descriptor);
  if (address == MAP_FAILED) refuse("cannot map: " + std::system_category().message(map_code));
  bytes = static_cast<const unsigned char*>(address);
}

void Safetensors::Mapping::read_header() {
  uint64_t length = 0;
  std::memcpy(&length, bytes, sizeof length);
  if (length > kLongestHeader) {
    refuse(fmt::format("got a header of {} bytes, expected at most {}", length, kLongestHeader),
           "this is probably no safetensors file: a Git LFS pointer, or a .bin file that was renamed");
  }
  if (length > size - 8) {
    refuse(fmt::format("got a header of {} bytes, but the file ends {} bytes after its length", length, size - 8),
           kTruncated);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes) + 8, length);
  const Json header = parse_json_unique(text, "header of " + path.string());
  if (!header.is_object()) refuse(fmt::format("the header is {}, expected a JSON object", shown(header)));
  const uint64_t data_begin = 8 + length;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      read_metadata(value);
    } else {
      tensors[name] = read_tensor(name, value, data_begin);
    }
  }
  check_layout(data_begin);
}

void Safetensors::Mapping::read_metadata(const Json& values) {
  if (values.is_null()) return;
  if (!values.is_object()) refuse(fmt::format("__metadata__: got {}, expected an object of strings", shown(values)));
  for (const auto& [key, value] : values.items()) {
    if (!value.is_string()) refuse(fmt::format("__metadata__ '{}': got {}, expected a string", key, shown(value)));
    metadata[key] = value.get<std::string>();
  }
}

TensorInfo Safetensors::Mapping::read_tensor(const std::string& name, const Json& value, uint64_t data_begin) const {
  if (!value.is_object()) refuse(fmt::format("tensor '{}': got {}, expected an object", name, shown(value)));
  const auto field = [&](const char* key) -> const Json& {
    const auto found = value.find(key);
    if (found == value.end()) refuse(fmt::format("tensor '{}': '{}' is missing", name, key));
    return *found;
  };
  TensorInfo info;
  const Json& dtype = field("dtype");
  const SafetensorsType* type =
      dtype.is_string() ? find_safetensors_type(dtype.get_ref<const std::string&>()) : nullptr;
  if (!type) refuse(fmt::format("tensor '{}': unknown dtype {}", name, shown(dtype)));
  info.dtype = type->name;

  const Json& shape = field("shape");
  if (!shape.is_array()) refuse(fmt::format("tensor '{}': got shape {}, expected a list", name, shown(shape)));
  uint64_t expected = type->bytes;
  bool overflow = false;
  for (const Json& extent : shape) {
    uint64_t count = 0;
    if (!as_count(extent, INT64_MAX, count)) {
      refuse(fmt::format("tensor '{}': got extent {}, expected an integer of at least 0", name, shown(extent)));
    }
    // An extent of 0 makes the product 0, but the others must still multiply to a number libtorch can hold.
    if (count > 0 && expected > static_cast<uint64_t>(INT64_MAX) / count) overflow = true;
    if (!overflow && count > 0) expected *= count;
    info.shape.push_back(static_cast<int64_t>(count));
  }
  if (overflow) refuse(fmt::format("tensor '{}': shape {} overflows 64 bits", name, shape_text(info.shape)));
  if (std::find(info.shape.begin(), info.shape.end(), 0) != info.shape.end()) expected = 0;

  const Json& offsets = field("data_offsets");
  uint64_t begin = 0, end = 0;
  if (!offsets.is_array() || offsets.size() != 2 || !as_count(offsets[0], UINT64_MAX, begin) ||
      !as_count(offsets[1], UINT64_MAX, end)) {
    refuse(fmt::format("tensor '{}': got data_offsets {}, expected [begin, end]", name, shown(offsets)));
  }
  if (begin > end || end > size - data_begin) {
    refuse(fmt::format("tensor '{}': offsets ({}, {}) are outside the file's {} data bytes", name, begin, end,
                       size - data_begin),
           begin > end ? std::string_view() : kTruncated);
  }
  if (end - begin != expected) {
    refuse(fmt::format("tensor '{}': offsets ({}, {}), expected {} bytes for {} {}", name, begin, end, expected,
                       info.dtype, shape_text(info.shape)));
  }
  info.offset = data_begin + begin;
  info.bytes = expected;
  return info;
}

// The tensors must follow each other without hole or overlap, up to the last byte.
void Safetensors::Mapping::check_layout(uint64_t data_begin) const {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  // Empty tensors come before the tensor that begins at the same place.
  std::sort(order.begin(), order.end(), [](const auto* left, const auto* right) {
    return std::pair(left->second.offset, left->second.bytes) < std::pair(right->second.offset, right->second.bytes);
  });
  uint64_t position = data_begin;
  for (const auto* entry : order) {
    const TensorInfo& info = entry->second;
    if (info.offset != position) {
      refuse(fmt::format("tensor '{}': begins at data byte {}, expected {}: there is {}", entry->first,
                         info.offset - data_begin, position - data_begin,
                         info.offset < position ? "an overlap" : "a hole"));
    }
    position += info.bytes;
  }
  if (position != size) {
    refuse(fmt::format("{} bytes behind the last tensor belong to none", size - position));
  }
}

Safetensors::Safetensors(const fs::path& path) : mapping_(std::make_shared<const Mapping>(path)) {}

const fs::path& Safetensors::path() const {
  return mapping_->path;
}
const std::map<std::string, TensorInfo>& Safetensors::tensors() const {
  return mapping_->tensors;
}
const std::map<std::string, std::string>& Safetensors::metadata() const {
  return mapping_->metadata;
}
bool Safetensors::contains(const std::string& name) const {
  return mapping_->tensors.count(name) > 0;
}

void Safetensors::let_go(const std::string& name) const {
  const auto found = mapping_->tensors.find(name);
  if (found == mapping_->tensors.end()) return;
  // whole pages only: a neighbour's bytes may share the first and the last one
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (found->second.offset + page - 1) / page * page;
  const uint64_t end = (found->second.offset + found->second.bytes) / page * page;
  if (end > begin) ::madvise(const_cast<unsigned char*>(mapping_->bytes) + begin, end - begin, MADV_DONTNEED);
}

at::Tensor Safetensors::get(const std::string& name) const {
  const auto found = mapping_->tensors.find(name);
  if (found == mapping_->tensors.end()) {
    fail("safetensors", fmt::format("no tensor '{}' ({})", name, mapping_->path.string()));
  }
  const TensorInfo& info = found->second;
  const SafetensorsType& type = *find_safetensors_type(info.dtype);
  if (!type.supported) {
    fail("safetensors",
         fmt::format("tensor '{}': this libtorch has no type for {} ({})", name, info.dtype, mapping_->path.string()),
         "convert the tensor to F32, BF16 or a signed integer type first");
  }
  const auto options = at::TensorOptions().dtype(type.scalar);
  const unsigned char* address = mapping_->bytes + info.offset;
  if (info.bytes == 0) return at::empty(info.shape, options);
  if (reinterpret_cast<uintptr_t>(address) % type.bytes != 0) {
    // The format asks for no alignment of single tensors, the kernels do.
    at::Tensor copy = at::empty(info.shape, options);
    std::memcpy(copy.data_ptr(), address, info.bytes);
    return copy;
  }
  return at::from_blob(
      const_cast<unsigned char*>(address), info.shape, [mapping = mapping_](void*) {}, options);
}

}  // namespace introspect
