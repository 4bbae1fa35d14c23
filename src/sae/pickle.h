// Python pickles of plain data: numbers, text, lists, tuples, dicts, sets, numpy arrays and torch tensors. Reading one
// runs no code: any other class or function in it is refused by name.
// Protocols 2 to 5; specification: Python's pickletools, torch/serialization.py, numpy's ndarray.__reduce__.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace fs = std::filesystem;

struct PickleValue {
  enum Kind { none, boolean, integer, real, text, bytes, list, tuple, dict, set, tensor, name, storage, dtype };
  Kind kind = none;
  at::ScalarType scalar = at::kFloat;                                      // dtype
  int64_t number = 0;                                                      // boolean, integer
  double value = 0;                                                        // real
  std::string_view characters;                                             // text (UTF-8), bytes; name: "module name"
  std::vector<const PickleValue*> items;                                   // list, tuple, set
  std::vector<std::pair<const PickleValue*, const PickleValue*>> entries;  // dict
  at::Tensor array;                                                        // tensor; storage: [numbers]

  // The value under a text key of a dict, or null.
  const PickleValue* find(std::string_view key) const;
};

// One pickle; values may share parts, and live as long as this does.
class Pickle {
 public:
  // A .pkl file: bytes and arrays view the mapped file (never write to them). A .pt file of torch.save (a zip archive):
  // tensors have memory of their own. Throws Error for broken bytes and for what is no plain data.
  explicit Pickle(const fs::path& path);
  // `storage`: bytes of a tensor's storage by its key; may be empty. `bytes` must stay.
  Pickle(std::string_view bytes, const std::string& label, std::function<std::string(const std::string& key)> storage);
  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleReader;
  std::deque<PickleValue> values_;
  std::deque<std::string> strings_;  // what is no view of the file
  std::shared_ptr<const void> file_;
  const PickleValue* root_ = nullptr;
};

}  // namespace introspect
