#include "sae/zip_file.h"

#include "base/error.h"

#include <algorithm>
#include <zip.h>

namespace introspect {

namespace {

constexpr uint64_t kDeflateRatio = 1032;  // deflate cannot shrink by more
constexpr int64_t kMostEntries = 1 << 20;

std::string text_of(int zip_code) {
  zip_error_t error;
  zip_error_init_with_code(&error, zip_code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

}  // namespace

ZipFile::ZipFile(const fs::path& path, std::string where) : path_(path), where_(std::move(where)) {
  int code = 0;
  zip_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code), [](zip_t* opened) {
    if (opened) zip_discard(opened);
  });
  if (!zip_) {
    fail(where_, fmt::format("not a zip archive: {} ({})", text_of(code), path.string()),
         "the file may be truncated, or a Git LFS pointer: compare its size with the original");
  }
  const uint64_t file_bytes = fs::file_size(path);
  const int64_t count = zip_get_num_entries(zip_.get(), 0);
  if (count < 0 || count > kMostEntries)
    fail(where_, fmt::format("an archive of {} entries ({})", count, path.string()));
  for (uint64_t index = 0; index < static_cast<uint64_t>(count); ++index) {
    const char* raw = zip_get_name(zip_.get(), index, 0);
    const std::string name = raw ? raw : "";
    if (!entries_.emplace(name, checked_entry(name, index, file_bytes)).second) refuse(name, "twice in the archive");
  }
}

void ZipFile::refuse(const std::string& name, const std::string& message) const {
  fail(where_, fmt::format("entry '{}': {} ({})", name, message, path_.string()));
}

ZipFile::Entry ZipFile::checked_entry(const std::string& name, uint64_t index, uint64_t file_bytes) const {
  zip_stat_t status;
  zip_stat_init(&status);
  constexpr uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(zip_.get(), index, 0, &status) != 0 || (status.valid & kNeeded) != kNeeded) {
    refuse(name, std::string("its size is not known: ") + zip_strerror(zip_.get()));
  }
  const bool stored = status.comp_method == ZIP_CM_STORE;
  if (!stored && status.comp_method != ZIP_CM_DEFLATE) {
    refuse(name, fmt::format("compression method {}, expected stored or deflated", status.comp_method));
  }
  if (status.comp_size > file_bytes) {
    refuse(name, fmt::format("takes {} bytes of a file of {}", status.comp_size, file_bytes));
  }
  if (stored ? status.size != status.comp_size : status.size / kDeflateRatio > status.comp_size) {
    refuse(name, fmt::format("says that it has {} bytes, which {} bytes cannot hold", status.size, status.comp_size));
  }
  return {index, status.size};
}

ZipFile::Stream::Stream(const ZipFile& file, const std::string& name) : file_(file), name_(name) {
  stream_.reset(zip_fopen_index(file.zip_.get(), file.entries_.at(name).index, 0), [](zip_file_t* opened) {
    if (opened) zip_fclose(opened);
  });
  if (!stream_) file_.refuse(name_, std::string("cannot read it: ") + zip_strerror(file.zip_.get()));
}

uint64_t ZipFile::Stream::read(char* to, uint64_t count) {
  constexpr uint64_t kAtOnce = uint64_t{1} << 26;
  uint64_t done = 0;
  while (done < count) {
    const int64_t got = zip_fread(stream_.get(), to + done, std::min(kAtOnce, count - done));
    if (got < 0) file_.refuse(name_, fmt::format("broken: {}", zip_file_strerror(stream_.get())));
    if (got == 0) break;
    done += static_cast<uint64_t>(got);
  }
  return done;
}

std::string ZipFile::read(const std::string& name) const {
  Stream stream(*this, name);
  std::string bytes(entries_.at(name).size, '\0');
  char more = 0;
  if (stream.read(bytes.data(), bytes.size()) != bytes.size() || stream.read(&more, 1) != 0) {
    refuse(name, "has another number of bytes than the archive says");
  }
  return bytes;
}

}  // namespace introspect
