#include "base/files.h"

#include "base/error.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace introspect {

namespace {

std::string reason(int code) {
  return std::system_category().message(code);
}

// What to do about the causes that users meet most.
std::string_view hint_for(int code) {
  switch (code) {
    case ENOENT:
      return "check the path; a folder on the way may be missing";
    case EACCES:
      return "check the permissions of the file and of its folder";
    case ENOSPC:
      return "the disk is full: free some space or write to another disk";
    default:
      return {};
  }
}

[[noreturn]] void fail_with(std::string_view what, int code, const fs::path& path) {
  fail("files", fmt::format("{}: {} ({})", what, reason(code), path.string()), hint_for(code));
}

// Renaming is only durable once the folder that holds the name is on disk too. Some file systems refuse to sync a
// folder; the file itself is safe by then, so that is no error.
void sync_folder_of(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

std::string read_text(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_with("cannot open", errno, path);
  std::string text;
  // The size is only a first guess: files of /proc say 0, and a file may grow while it is read.
  std::error_code ignored;
  const auto size = fs::file_size(path, ignored);
  if (!ignored) text.reserve(size);
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
    } else if (count == 0) {
      break;
    } else if (errno != EINTR) {
      const int code = errno;
      ::close(descriptor);
      fail_with("cannot read", code, path);
    }
  }
  ::close(descriptor);
  return text;
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path), temporary_(path.string() + ".tmp") {
  do {
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail_with("cannot create", errno, temporary_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* bytes, size_t count) {
  if (descriptor_ < 0) fail("files", fmt::format("write after commit ({})", path_.string()));
  const char* next = static_cast<const char*>(bytes);
  while (count > 0) {
    // Linux writes at most 2 GiB - 4 KiB at a time; asking for 1 GiB keeps the loop the same everywhere.
    const ssize_t written = ::write(descriptor_, next, std::min<size_t>(count, size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_with("cannot write", errno, temporary_);
    }
    next += written;
    count -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) fail("files", fmt::format("committed twice ({})", path_.string()));
  int status = 0;
  do {
    status = ::fsync(descriptor_);
  } while (status < 0 && errno == EINTR);
  // Pipes and some network file systems cannot be synced; anything else means that bytes may be lost.
  if (status < 0 && errno != EINVAL && errno != ENOTSUP) fail_with("cannot flush", errno, temporary_);
  // close() reports late write errors (quota, network). Its descriptor is gone either way.
  status = ::close(descriptor_);
  const int close_error = errno;
  descriptor_ = -1;
  if (status < 0 && close_error != EINTR) {
    ::unlink(temporary_.c_str());
    fail_with("cannot write", close_error, temporary_);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) < 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    fail_with("cannot rename the temporary to", code, path_);
  }
  sync_folder_of(path_);
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace introspect
