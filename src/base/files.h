// Files written whole or not at all, and hashes of inputs.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace introspect {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path);  // throws Error naming path and reason

// A file that appears under its name only when commit() succeeds: bytes go to "<path>.tmp", are flushed to disk and
// renamed. A write that fails (full disk) throws Error; the destructor removes an uncommitted temporary.
class AtomicFile {
 public:
  explicit AtomicFile(const fs::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* bytes, size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  fs::path path_, temporary_;
  int descriptor_ = -1;
};

void write_text(const fs::path& path, std::string_view text);  // atomic

// SHA-256 in hexadecimal.
std::string sha256_text(std::string_view text);
std::string sha256_file(const fs::path& path);
// Of a folder: over the names and hashes of its files, recursively, in sorted order. run.json is left out
// (it holds times), and so are temporaries.
std::string sha256_folder(const fs::path& folder);

}  // namespace introspect
