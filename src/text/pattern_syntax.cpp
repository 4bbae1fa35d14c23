// Rewrites Oniguruma's Ruby syntax, which tokenizer.json is written in, to PCRE2's.
#include "base/error.h"
#include "text/pattern.h"

#include <cctype>
#include <vector>

namespace introspect::text {

namespace {

// PCRE2's own \s also takes U+180E, and its \w other marks; these are the sets of Oniguruma.
constexpr std::string_view kSpace = "\\t-\\r\\x{85}\\p{Z}";
constexpr std::string_view kNotSpace =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kHex = "0-9a-fA-F";
constexpr std::string_view kNotHex = "\\x{0}-/:-@G-`g-\\x{10FFFF}";

class Rewriter {
 public:
  Rewriter(std::string_view expression, std::string_view part) : in_(expression), part_(part) {}

  std::string run() {
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void reject(std::string_view what) const {
    fail("tokenizer", fmt::format("{}: {} is not supported in the regular expression {}", part_, what, in_));
  }

  void step() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (c == '[') return character_class();
    if (c == '(') {
      groups_.push_back(out_.size());
      out_ += in_[at_++];
      return;
    }
    if (c == ')') {
      atom_ = groups_.empty() ? out_.size() : groups_.back();
      if (!groups_.empty()) groups_.pop_back();
      out_ += in_[at_++];
      return;
    }
    if (c == '{' && interval()) return;
    if (c != '*' && c != '+' && c != '?') atom_ = out_.size();
    out_ += in_[at_++];
  }

  // "{n,m}" and what follows it: a "+" there repeats the whole in Ruby's syntax and would be possessive in PCRE2's.
  bool interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    if (end >= in_.size() || in_[end] != '}' || end == at_ + 1) return false;
    if (in_[at_ + 1] == ',') {  // "{,m}" is "{0,m}"; PCRE2 10.42 would take it as text
      out_ += "{0";
      out_ += in_.substr(at_ + 1, end - at_);
    } else {
      out_ += in_.substr(at_, end + 1 - at_);
    }
    at_ = end + 1;
    if (at_ < in_.size() && in_[at_] == '+') {
      out_.insert(std::min(atom_, out_.size()), "(?:");
      out_ += ")+";
      ++at_;
    }
    return true;
  }

  void escape() {
    if (at_ + 1 >= in_.size()) reject("a backslash at the end");
    atom_ = out_.size();
    const char c = in_[at_ + 1];
    if (escape_set(c, "[", "]")) return;
    if (c == 'b' || c == 'B') {  // where \w begins or ends, by the set above
      const std::string_view same = c == 'b' ? "!" : "=", other = c == 'b' ? "=" : "!";
      out_ += fmt::format("(?:(?<=[{0}])(?{1}[{0}])|(?<![{0}])(?{2}[{0}]))", kWord, same, other);
      at_ += 2;
      return;
    }
    copy_escape();
  }

  // \s and its like; `open` and `close` make a class of them, or are empty inside of one.
  bool escape_set(char c, std::string_view open, std::string_view close) {
    std::string_view members;
    std::string_view begin = open;
    switch (c) {
      case 's':
        members = kSpace;
        break;
      case 'S':
        members = kNotSpace;
        break;
      case 'w':
        members = kWord;
        break;
      case 'W':
        if (open.empty()) reject("\\W inside a character class");
        members = kWord;
        begin = "[^";
        break;
      case 'h':
        members = kHex;
        break;
      case 'H':
        members = kNotHex;
        break;
      default:
        return false;
    }
    out_ += begin;
    out_ += members;
    out_ += close;
    at_ += 2;
    return true;
  }

  void copy_escape() {
    if (in_[at_ + 1] == 'u') {  // \uHHHH
      const std::string_view digits = in_.substr(at_ + 2, 4);
      for (const char digit : digits) {
        if (!std::isxdigit(static_cast<unsigned char>(digit))) reject("\\u without four hexadecimal digits");
      }
      if (digits.size() != 4) reject("\\u without four hexadecimal digits");
      out_ += "\\x{";
      out_ += digits;
      out_ += '}';
      at_ += 6;
      return;
    }
    const char kind = in_[at_ + 1];
    out_ += in_.substr(at_, 2);
    at_ += 2;
    // \p{...} and \x{...}: the braces are part of the atom, no interval
    if ((kind == 'p' || kind == 'P' || kind == 'x') && at_ < in_.size() && in_[at_] == '{') {
      const size_t close = in_.find('}', at_);
      if (close == std::string_view::npos) reject("a brace without its end");
      out_ += in_.substr(at_, close + 1 - at_);
      at_ = close + 1;
    }
  }

  void character_class() {
    atom_ = out_.size();
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
    class_members();
    out_ += in_[at_++];
  }

  // Up to, and without, the "]" that ends the class.
  void class_members() {
    for (bool first = true; at_ < in_.size(); first = false) {
      const char c = in_[at_];
      if (c == ']' && !first) return;
      if (c == '\\') {
        if (at_ + 1 >= in_.size()) reject("a backslash at the end");
        if (!escape_set(in_[at_ + 1], "", "")) copy_escape();
      } else if (c == '&' && in_.substr(at_, 2) == "&&") {
        reject("\"&&\" in a character class");
      } else if (c == '[') {
        inner_class();
      } else {
        // at the edge of an inner class these are themselves, and would not be among the members of the outer one
        const bool edge = first || in_.substr(at_ + 1, 1) == "]";
        if (depth_ > 0 && edge && (c == ']' || c == '-')) out_ += '\\';
        out_ += in_[at_++];
      }
    }
    reject("a character class without its end");
  }

  // [:alpha:], or a class inside of a class, whose members belong to the outer one.
  void inner_class() {
    const size_t close = in_.find(":]", at_);
    if (in_.substr(at_, 2) == "[:" && close != std::string_view::npos) {
      out_ += in_.substr(at_, close + 2 - at_);
      at_ = close + 2;
      return;
    }
    if (++depth_ > 100) reject("a class so deep inside of character classes");
    ++at_;
    if (at_ < in_.size() && in_[at_] == '^') reject("a negated class inside a character class");
    class_members();
    ++at_;
    --depth_;
  }

  std::string_view in_, part_;
  std::string out_;
  size_t at_ = 0;
  int depth_ = 0;               // of classes inside of classes
  size_t atom_ = 0;             // where in out_ the latest atom begins
  std::vector<size_t> groups_;  // where in out_ each open group begins
};

}  // namespace

std::string to_pcre2(std::string_view expression, std::string_view part) {
  return Rewriter(expression, part).run();
}

}  // namespace introspect::text
