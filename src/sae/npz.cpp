#include "sae/npz.h"

#include "base/error.h"
#include "sae/zip_file.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

static_assert(std::endian::native == std::endian::little, ".npy files hold little-endian numbers");

namespace {

constexpr uint64_t kLongestHeader = 65536;  // numpy itself takes 10,000 bytes unless told otherwise
constexpr size_t kMostDimensions = 32;      // numpy's own limit
constexpr int64_t kMostArrays = 4096;

struct NpyType {
  std::string_view name;
  at::ScalarType scalar;
  uint64_t bytes;
};
constexpr NpyType kTypes[] = {{"<f2", at::kHalf, 2},
                              {"<f4", at::kFloat, 4},
                              {"<f8", at::kDouble, 8},
                              {"<i4", at::kInt, 4},
                              {"<i8", at::kLong, 8}};

// Reads the Python literal that the header is: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& label) : text_(text), label_(label) {}

  void read(NpyHeader& header) {
    std::optional<std::string> type;
    std::optional<bool> order;
    std::optional<std::vector<int64_t>> shape;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !type) {
        type = type_name();
      } else if (key == "fortran_order" && !order) {
        order = boolean();
      } else if (key == "shape" && !shape) {
        shape = tuple();
      } else {
        refuse(fmt::format("key '{}' twice or unknown, expected descr, fortran_order and shape", key));
      }
      if (!take(',') && peek() != '}') refuse("a comma or } is missing");
    }
    skip_blanks();
    if (at_ != text_.size()) refuse("something stands behind the closing }");
    if (!type || !order || !shape) refuse("descr, fortran_order or shape is missing");
    header.fortran_order = *order;
    header.shape = std::move(*shape);
    set_type(header, *type);
  }

 private:
  [[noreturn]] void refuse(const std::string& message, std::string_view hint = {}) const {
    fail("npz", fmt::format(".npy header: {} ({})", message, label_), hint);
  }

  void set_type(NpyHeader& header, const std::string& name) const {
    const auto type =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const NpyType& t) { return t.name == name; });
    if (type == std::end(kTypes)) {
      const bool pickled = name.find('O') != std::string::npos;
      refuse(fmt::format("type {}: expected <f2, <f4, <f8, <i4 or <i8",
                         pickled ? "'" + name + "' (pickled Python objects, which can run code when they are read)"
                                 : "'" + name + "'"),
             pickled ? "" : "in Python: numpy.savez(path, **{name: array.astype('<f4') for name, array in ...})");
    }
    header.dtype = type->scalar;
    uint64_t bytes = type->bytes;
    for (const int64_t extent : header.shape) {
      // with an extent of 0 the others must still multiply to a number that libtorch can hold
      const auto count = static_cast<uint64_t>(std::max<int64_t>(extent, 1));
      if (bytes > static_cast<uint64_t>(INT64_MAX) / count) {
        refuse(fmt::format("shape [{}] overflows 64 bits", fmt::join(header.shape, ", ")));
      }
      bytes *= count;
    }
    header.data_bytes = std::find(header.shape.begin(), header.shape.end(), 0) == header.shape.end() ? bytes : 0;
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  char peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char wanted) {
    if (peek() != wanted || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) refuse(fmt::format("'{}' expected at byte {}", wanted, at_));
  }

  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') refuse(fmt::format("a quoted word expected at byte {}", at_));
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos || end - at_ > 64) refuse("a quoted word does not end");
    std::string word;
    for (const char c : text_.substr(at_ + 1, end - at_ - 1)) word += c >= ' ' && c <= '~' ? c : '?';
    at_ = end + 1;
    return word;
  }

  std::string type_name() {
    if (peek() == '[') refuse("type: a record of several fields, expected one type of number");
    return quoted();
  }

  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    refuse("fortran_order: expected True or False");
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!take(')')) {
      skip_blanks();
      int64_t value = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) refuse("shape: expected integers of at least 0");
      at_ = static_cast<size_t>(end - text_.data());
      values.push_back(value);
      if (values.size() > kMostDimensions) refuse(fmt::format("shape: more than {} dimensions", kMostDimensions));
      if (!take(',') && peek() != ')') refuse("shape: a comma or ) is missing");
    }
    return values;
  }

  std::string_view text_;
  std::string label_;
  size_t at_ = 0;
};

}  // namespace

NpyHeader parse_npy_header(std::string_view bytes, const std::string& label) {
  const auto refuse = [&](const std::string& message) { fail("npz", fmt::format("{} ({})", message, label)); };
  if (bytes.size() < 10 || !bytes.starts_with(std::string_view("\x93NUMPY", 6))) {
    refuse("got something else than a .npy file: it does not begin with \\x93NUMPY");
  }
  const auto byte = [&](size_t at) { return static_cast<uint64_t>(static_cast<unsigned char>(bytes[at])); };
  const uint64_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    refuse(fmt::format(".npy format: got version {}.{}, expected 1.0, 2.0 or 3.0", major, minor));
  }
  // version 1 has a length of 2 bytes, the later ones of 4
  const size_t begin = major == 1 ? 10 : 12;
  if (bytes.size() < begin) refuse(".npy header: the file ends within its length");
  uint64_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kLongestHeader) {
    refuse(fmt::format(".npy header: got {} bytes, expected at most {}", length, kLongestHeader));
  }
  if (length > bytes.size() - begin) {
    refuse(fmt::format(".npy header: got {} bytes, but the file ends {} bytes after its length", length,
                       bytes.size() - begin));
  }
  NpyHeader header;
  header.header_bytes = begin + length;
  HeaderReader(bytes.substr(begin, length), label).read(header);
  return header;
}

struct Npz::Archive {
  ZipFile zip;
  std::map<std::string, NpyHeader> headers;

  explicit Archive(const fs::path& file) : zip(file, "npz") {
    if (zip.entries().empty() || std::ssize(zip.entries()) > kMostArrays) {
      fail("npz",
           fmt::format("got {} arrays, expected 1 to {} ({})", zip.entries().size(), kMostArrays, file.string()));
    }
    for (const auto& [entry_name, entry] : zip.entries()) {
      std::string name = entry_name;
      if (!name.ends_with(".npy")) refuse(name, "expected only entries that end in .npy");
      name.resize(name.size() - 4);
      std::string beginning(std::min(entry.size, kLongestHeader + 12), '\0');
      ZipFile::Stream stream(zip, entry_name);
      beginning.resize(stream.read(beginning.data(), beginning.size()));
      const NpyHeader header = parse_npy_header(beginning, fmt::format("array '{}' of {}", name, file.string()));
      if (entry.size < header.header_bytes || entry.size - header.header_bytes != header.data_bytes) {
        refuse(name, fmt::format("the entry has {} bytes, expected {} for the header and {} for shape [{}]", entry.size,
                                 header.header_bytes, header.data_bytes, fmt::join(header.shape, ", ")));
      }
      headers.emplace(name, header);
    }
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& message) const {
    fail("npz", fmt::format("array '{}': {} ({})", name, message, zip.path().string()));
  }
};

Npz::Npz(const fs::path& path) : archive_(std::make_shared<const Archive>(path)) {}

const std::map<std::string, NpyHeader>& Npz::arrays() const {
  return archive_->headers;
}

at::Tensor Npz::get(const std::string& name) const {
  const auto found = archive_->headers.find(name);
  if (found == archive_->headers.end()) archive_->refuse(name, "not there");
  const NpyHeader& header = found->second;
  std::vector<int64_t> shape = header.shape;
  if (header.fortran_order) std::reverse(shape.begin(), shape.end());
  at::Tensor tensor;
  try {
    tensor = at::empty(shape, at::TensorOptions().dtype(header.dtype));
  } catch (const std::exception&) {
    archive_->refuse(name, fmt::format("no memory for its {} bytes", header.data_bytes));
  }
  ZipFile::Stream stream(archive_->zip, name + ".npy");
  std::string skipped(header.header_bytes, '\0');
  const uint64_t got = stream.read(skipped.data(), skipped.size()) +
                       stream.read(static_cast<char*>(tensor.data_ptr()), header.data_bytes);
  char more = 0;
  if (got != header.header_bytes + header.data_bytes || stream.read(&more, 1) != 0) {
    archive_->refuse(name, "has another number of bytes than the archive says");
  }
  if (!header.fortran_order) return tensor;
  std::vector<int64_t> order(shape.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(order.size() - 1 - i);
  return tensor.permute(order);
}

}  // namespace introspect
