#include "base/error.h"

namespace introspect {

namespace {
std::string compose(std::string_view where, std::string_view message, std::string_view hint) {
  std::string text = fmt::format("[{}] {}", where, message);
  if (!hint.empty()) text += fmt::format("\nhint: {}", hint);
  return text;
}
}  // namespace

Error::Error(ErrorKind kind, std::string_view where, std::string_view message, std::string_view hint)
    : std::runtime_error(compose(where, message, hint)), kind_(kind) {}

void fail(std::string_view where, std::string_view message, std::string_view hint) {
  throw Error(ErrorKind::failure, where, message, hint);
}

void fail_usage(std::string_view where, std::string_view message, std::string_view hint) {
  throw Error(ErrorKind::usage, where, message, hint);
}

}  // namespace introspect
