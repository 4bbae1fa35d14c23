#include "base/mapped_file.h"

#include "base/error.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace introspect {

MappedFile::MappedFile(const fs::path& path, std::string_view where) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    fail(where, fmt::format("cannot open: {} ({})", std::system_category().message(errno), path.string()));
  }
  struct stat status = {};
  const bool usable = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
  const auto size = static_cast<size_t>(status.st_size);
  void* address = usable ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  ::close(descriptor);
  if (address == MAP_FAILED) fail(where, fmt::format("not a file with bytes in it ({})", path.string()));
  bytes_ = {static_cast<const char*>(address), size};
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

}  // namespace introspect
