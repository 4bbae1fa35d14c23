#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include "base/error.h"
#include "text/utf8.h"

#include <pcre2.h>

namespace introspect::text {

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string expression;
  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() { pcre2_code_free(code); }
};

namespace {

std::string pcre2_message(int code) {
  char buffer[256] = {};
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(buffer), sizeof buffer);
  return buffer;
}

// What PCRE2 writes to while it matches; one a thread, for all patterns. Only the whole match is asked for.
struct MatchSpace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr);
  MatchSpace() {
    if (data == nullptr || context == nullptr || stack == nullptr) fail("tokenizer", "no memory for PCRE2");
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, 10'000'000);
  }
  MatchSpace(const MatchSpace&) = delete;
  MatchSpace& operator=(const MatchSpace&) = delete;
  ~MatchSpace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

MatchSpace& match_space() {
  thread_local MatchSpace space;
  return space;
}

void find_literal(std::string_view text, std::string_view wanted, std::vector<Range>& matches) {
  if (wanted.empty()) return;
  for (size_t at = text.find(wanted); at != std::string_view::npos; at = text.find(wanted, at + wanted.size())) {
    matches.push_back({at, at + wanted.size()});
  }
}

}  // namespace

Pattern Pattern::regex(std::string_view expression, std::string_view part) {
  const std::string rewritten = to_pcre2(expression, part);
  auto compiled = std::make_shared<Compiled>();
  compiled->expression = expression;
  int error = 0;
  PCRE2_SIZE at = 0;
  // In Ruby's syntax ^ and $ are the ends of lines.
  compiled->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr);
  if (compiled->code == nullptr) {
    fail("tokenizer", fmt::format("{}: the regular expression {} does not compile: {} at byte {} of {}", part,
                                  expression, pcre2_message(error), at, rewritten));
  }
  compiled->jit = pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE) == 0;
  Pattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

Pattern Pattern::literal(std::string_view text) {
  Pattern pattern;
  pattern.literal_ = text;
  return pattern;
}

void Pattern::find_all(std::string_view text, std::vector<Range>& matches) const {
  if (compiled_ == nullptr) return find_literal(text, literal_, matches);
  MatchSpace& space = match_space();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const size_t* found = pcre2_get_ovector_pointer(space.data);
  size_t at = 0;
  size_t last_end = static_cast<size_t>(-1);
  while (at <= text.size()) {
    const int status =
        compiled_->jit
            ? pcre2_jit_match(compiled_->code, subject, text.size(), at, 0, space.data, space.context)
            : pcre2_match(compiled_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, space.data, space.context);
    if (status == PCRE2_ERROR_NOMATCH) return;
    if (status < 0) {
      fail("tokenizer",
           fmt::format("the regular expression {} failed: {}", compiled_->expression, pcre2_message(status)));
    }
    const Range match{found[0], found[1]};
    if (match.end < match.begin || match.end < at) return;  // \K in a look-behind can put the end before the start
    at = match.end;
    if (match.empty()) {
      if (at < text.size()) at += known_character(text.data() + at).length;
      const bool at_end = match.end == text.size();
      if (match.end != last_end) matches.push_back(match);
      if (at_end) return;
    } else {
      matches.push_back(match);
    }
    last_end = match.end;
  }
}

}  // namespace introspect::text
