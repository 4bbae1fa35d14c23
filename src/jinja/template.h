// The subset of Jinja that chat templates use, in transformers' environment: trim_blocks and lstrip_blocks on, loop
// controls, {% generation %}, tojson without escapes, raise_exception, strftime_now.
//
// Statements: if, for (with else, filter and unpacking), set (also of namespaces, and as a block), macro, break,
// continue, generation, raw. Not there, and refused by name: include, import, extends, block, call, filter, with, do.
#pragma once

#include "jinja/value.h"

#include <memory>
#include <string>

namespace introspect::jinja {

struct Body;  // tree.h

class Template {
 public:
  // `label` names the template in messages: a path. Throws Error with the line of what is wrong or not supported.
  Template(const std::string& source, std::string label);
  ~Template();
  Template(Template&&) noexcept;

  // Throws Error with label and line for whatever goes wrong, also what the template raises itself. A template may take
  // 10 million steps and write 64 MiB.
  std::string render(const Dict& variables) const;

 private:
  std::string label_;
  std::unique_ptr<const Body> body_;
};

}  // namespace introspect::jinja
