// The page's style sheet and script, as text.
#pragma once

#include <string_view>

namespace introspect {

extern const std::string_view kPageStyle;
extern const std::string_view kPageScript;

}  // namespace introspect
