#include "text/normalizer.h"

#include "base/error.h"
#include "text/pattern.h"
#include "text/utf8.h"

#include <cstdlib>
#include <utf8proc.h>

namespace introspect::text {

namespace {

using Step = Normalizer::Step;

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

bool is_ascii(char byte) {
  return static_cast<unsigned char>(byte) < 0x80;
}

std::string unicode_form(std::string_view text, utf8proc_option_t options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  const std::unique_ptr<utf8proc_uint8_t, FreeDeleter> owner(mapped);
  if (length < 0) fail("tokenizer", fmt::format("Unicode normalization failed: {}", utf8proc_errmsg(length)));
  return std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
}

// NFC, NFD, NFKC, NFKD. ASCII does not change and never joins what stands before it, so only runs of other characters
// (with the character before them) are given to utf8proc.
struct UnicodeForm : Step {
  utf8proc_option_t options;
  explicit UnicodeForm(int form) : options(static_cast<utf8proc_option_t>(form | UTF8PROC_STABLE)) {}

  void apply(AlignedText& text) const override {
    const std::string& old = text.text;
    AlignedText fresh;
    fresh.tracked = text.tracked;
    size_t kept = 0;  // what is before this is in `fresh`
    for (size_t at = 0; at < old.size();) {
      if (is_ascii(old[at])) {
        ++at;
        continue;
      }
      const size_t begin = at > kept ? at - 1 : at;
      while (at < old.size() && !is_ascii(old[at])) ++at;
      const std::string form = unicode_form(std::string_view(old).substr(begin, at - begin), options);
      if (std::string_view(old).substr(begin, at - begin) == form) continue;
      fresh.append(text, {kept, begin});
      append_run(fresh, text, {begin, at}, form);
      kept = at;
    }
    if (kept == 0) return;
    fresh.append(text, {kept, old.size()});
    text = std::move(fresh);
  }

  // A run that changed. Where it is cheap to know, every grapheme keeps its own place.
  void append_run(AlignedText& fresh, const AlignedText& text, Range run, const std::string& form) const {
    if (!text.tracked) return fresh.append(form, {});
    std::vector<std::pair<Range, std::string>> graphemes;
    std::string joined;
    utf8proc_int32_t state = 0;
    int64_t last = -1;
    for (size_t at = run.begin; at < run.end;) {
      const Character character = known_character(text.text.data() + at);
      const auto code_point = static_cast<utf8proc_int32_t>(character.code_point);
      if (last < 0 || utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last), code_point, &state)) {
        graphemes.push_back({{at, at}, {}});
      }
      at += character.length;
      graphemes.back().first.end = at;
      last = code_point;
    }
    for (auto& [range, changed] : graphemes) {
      changed = unicode_form(std::string_view(text.text).substr(range.begin, range.size()), options);
      joined += changed;
    }
    if (joined != form) return fresh.append(form, text.origin(run));
    for (const auto& [range, changed] : graphemes) {
      if (std::string_view(text.text).substr(range.begin, range.size()) == changed) {
        fresh.append(text, range);
      } else {
        fresh.append(changed, text.origin(range));
      }
    }
  }
};

// A hostile file could ask for replacements of replacements without end.
void check_growth(size_t fresh, size_t old) {
  constexpr size_t kFree = size_t{1} << 20, kFactor = 16;
  if (fresh > kFree && fresh / kFactor > old) {
    fail("tokenizer", fmt::format("the normalizer makes {} bytes of text out of {}", fresh, old));
  }
}

struct Prepend : Step {
  std::string prefix;
  explicit Prepend(std::string text) : prefix(std::move(text)) {}
  void apply(AlignedText& text) const override {
    if (text.text.empty()) return;
    AlignedText fresh;
    fresh.tracked = text.tracked;
    // counts to the first character, as in Hugging Face's offsets
    fresh.append(prefix, text.origin({0, known_character(text.text.data()).length}));
    fresh.append(text, {0, text.text.size()});
    text = std::move(fresh);
  }
};

struct Replace : Step {
  Pattern pattern;
  std::string content;
  Replace(Pattern wanted, std::string with) : pattern(std::move(wanted)), content(std::move(with)) {}
  void apply(AlignedText& text) const override {
    std::vector<Range> matches;
    pattern.find_all(text.text, matches);
    if (matches.empty()) return;
    check_growth(matches.size() * content.size(), text.text.size());
    AlignedText fresh;
    fresh.tracked = text.tracked;
    fresh.text.reserve(text.text.size() + matches.size() * content.size());
    size_t kept = 0;
    for (const Range& match : matches) {
      fresh.append(text, {kept, match.begin});
      fresh.append(content, text.origin(match));
      kept = match.end;
    }
    fresh.append(text, {kept, text.text.size()});
    text = std::move(fresh);
  }
};

struct Lowercase : Step {
  void apply(AlignedText& text) const override {
    AlignedText fresh;
    fresh.tracked = text.tracked;
    for (size_t at = 0, length = 0; at < text.text.size(); at += length) {
      const Character character = known_character(text.text.data() + at);
      length = character.length;
      const std::string lower = lower_case(character.code_point);
      if (lower.size() == length) {  // then byte for byte
        fresh.append(text, {at, at + length});
        fresh.text.replace(fresh.text.size() - length, length, lower);
      } else {
        fresh.append(lower, text.origin({at, at + length}));
      }
    }
    text = std::move(fresh);
  }
};

struct StripWhiteSpace : Step {
  bool left, right;
  StripWhiteSpace(bool at_left, bool at_right) : left(at_left), right(at_right) {}
  void apply(AlignedText& text) const override {
    Range kept{0, text.text.size()};
    Range seen{text.text.size(), 0};  // from the first to the end of the last character that is no white space
    for (size_t at = 0, length = 0; at < text.text.size(); at += length) {
      const Character character = known_character(text.text.data() + at);
      length = character.length;
      if (is_white_space(character.code_point)) continue;
      seen = {std::min(seen.begin, at), at + length};
    }
    if (left) kept.begin = seen.begin;
    if (right) kept.end = std::max(seen.end, kept.begin);
    if (kept.size() == text.text.size()) return;
    AlignedText fresh;
    fresh.tracked = text.tracked;
    fresh.append(text, kept);
    text = std::move(fresh);
  }
};

constexpr int kDecompose = UTF8PROC_DECOMPOSE, kCompose = UTF8PROC_COMPOSE, kCompatible = UTF8PROC_COMPAT;

}  // namespace

Normalizer::Normalizer(const Part& part) {
  add(part);
}

void Normalizer::add(const Part& part) {
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.list("normalizers")) add(inner);
  } else if (type == "NFC") {
    steps_.push_back(std::make_shared<UnicodeForm>(kCompose));
  } else if (type == "NFD") {
    steps_.push_back(std::make_shared<UnicodeForm>(kDecompose));
  } else if (type == "NFKC") {
    steps_.push_back(std::make_shared<UnicodeForm>(kCompose | kCompatible));
  } else if (type == "NFKD") {
    steps_.push_back(std::make_shared<UnicodeForm>(kDecompose | kCompatible));
  } else if (type == "Prepend") {
    steps_.push_back(std::make_shared<Prepend>(part.text("prepend")));
  } else if (type == "Replace") {
    steps_.push_back(std::make_shared<Replace>(part.pattern(), part.text("content")));
  } else if (type == "Lowercase") {
    steps_.push_back(std::make_shared<Lowercase>());
  } else if (type == "Strip") {
    const bool left = part.flag_or("strip_left", true), right = part.flag_or("strip_right", true);
    steps_.push_back(std::make_shared<StripWhiteSpace>(left, right));
  } else {
    part.unknown_type("Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip");
  }
}

void Normalizer::apply(AlignedText& text) const {
  const size_t given = text.text.size();
  for (const auto& step : steps_) {
    step->apply(text);
    check_growth(text.text.size(), given);
  }
}

}  // namespace introspect::text
