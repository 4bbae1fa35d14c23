// The one exception type of the project. Library code throws it; only src/cli catches, prints and exits.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace introspect {

enum class ErrorKind {
  failure,     // exit code 1: the input or the machine is at fault
  usage,       // exit code 2: the command line or a recipe's settings are at fault
  interrupted  // exit code 130: Ctrl-C; what was computed is kept
};

// what() reads "[where] what: got X, expected Y (path)" and, on a line of its own, "hint: ...".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string_view where, std::string_view message, std::string_view hint = {});
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Throws Error(failure). `where` names the room or function ("safetensors", "recipe"), `message` says
// what was got, what was expected and which file; `hint` what to do about it.
[[noreturn]] void fail(std::string_view where, std::string_view message, std::string_view hint = {});
[[noreturn]] void fail_usage(std::string_view where, std::string_view message, std::string_view hint = {});

}  // namespace introspect
