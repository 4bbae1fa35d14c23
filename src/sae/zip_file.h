// Zip archives of arrays: .npz files and what torch.save writes. Unpacking is libzip's work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

struct zip;
struct zip_file;

namespace introspect {

namespace fs = std::filesystem;

// Opening checks each entry's size against what the file can hold at all: stored entries are as large as they say,
// deflate shrinks by at most a factor of 1032. So a small file cannot ask for much memory. Throws Error naming entry
// and path, also for a name that is there twice.
class ZipFile {
 public:
  struct Entry {
    uint64_t index = 0, size = 0;  // bytes, unpacked
  };
  // `where` names the reader in errors.
  ZipFile(const fs::path& path, std::string where);

  const fs::path& path() const { return path_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }

  // The bytes of one entry, in order.
  class Stream {
   public:
    Stream(const ZipFile& file, const std::string& name);  // the name must be there
    // Up to `count` bytes; fewer only at the end of the entry, where libzip compares the checksum.
    uint64_t read(char* to, uint64_t count);

   private:
    const ZipFile& file_;
    std::string name_;
    std::shared_ptr<zip_file> stream_;
  };
  std::string read(const std::string& name) const;  // whole

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& message) const;
  Entry checked_entry(const std::string& name, uint64_t index, uint64_t file_bytes) const;

  fs::path path_;
  std::string where_;
  std::shared_ptr<zip> zip_;
  std::map<std::string, Entry> entries_;
};

}  // namespace introspect
