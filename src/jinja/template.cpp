#include "jinja/template.h"

#include "base/error.h"
#include "jinja/parser.h"
#include "jinja/tree.h"

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

[[noreturn]] void fail_at(const std::string& label, int line, const Raised& raised) {
  fail("chat template", fmt::format("{} ({}:{})", raised.what(), label, line), raised.hint);
}

}  // namespace

Template::Template(const std::string& source, std::string label) : label_(std::move(label)) {
  int line = 1;
  try {
    // as Jinja: one newline at the end goes, and line ends are one
    std::string text = source;
    for (size_t at = 0; (at = text.find('\r', at)) != std::string::npos;) {
      text.replace(at, at + 1 < text.size() && text[at + 1] == '\n' ? 2 : 1, "\n");
    }
    if (text.ends_with('\n')) text.pop_back();
    body_ = std::make_unique<const Body>(parse(text, line));
  } catch (const Raised& raised) {
    fail_at(label_, line, raised);
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;

std::string Template::render(const Dict& variables) const {
  Context context(variables);
  std::string out;
  try {
    body_->run(context, out);
  } catch (const Raised& raised) {
    fail_at(label_, context.line, raised);
  }
  return out;
}

}  // namespace introspect::jinja
