// A file's bytes, mapped read-only.
#pragma once

#include <filesystem>
#include <string_view>

namespace introspect {

namespace fs = std::filesystem;

class MappedFile {
 public:
  // `where` names the reader in errors. Throws Error for what cannot be opened, is no file or is empty.
  MappedFile(const fs::path& path, std::string_view where);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

}  // namespace introspect
