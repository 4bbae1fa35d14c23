#include "feature/contexts.h"

#include "base/error.h"

namespace introspect {

std::string context_kind_name(ContextKind kind) {
  switch (kind) {
    case ContextKind::top:
      return "top";
    case ContextKind::quantile:
      return "quantile";
    case ContextKind::random:
      return "random";
    case ContextKind::near_miss:
      return "near miss";
  }
  fail("contexts", "a kind of context without a name");
}

}  // namespace introspect
