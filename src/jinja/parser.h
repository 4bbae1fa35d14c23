// From a template's text to its tree.
#pragma once

#include "jinja/tree.h"

#include <string>

namespace introspect::jinja {

// Throws Raised; `line` is then the line of the fault.
Body parse(const std::string& source, int& line);

}  // namespace introspect::jinja
