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
// Tells versions of an input apart without reading gigabytes: up to 64 MB the file's SHA-256; of a larger file
// "sampled:" and the SHA-256 of its size, its first and last MiB and 4 KiB of every MiB between. A tensor of a MiB or
// more that changed is seen; a change of a few numbers in the midst of a large file may not be. Independent of times.
std::string fingerprint_file(const fs::path& path);
// Of a folder: SHA-256 over the names and fingerprints of its files, recursively, in sorted order. run.json is left
// out (it holds times), and so are temporaries and whatever begins with a dot (.git, .cache).
std::string sha256_folder(const fs::path& folder);

}  // namespace introspect
