#include "jinja/lexer.h"

#include "jinja/strings.h"
#include "jinja/value.h"

#include <algorithm>
#include <array>
#include <utf8proc.h>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string encoded(uint32_t code) {
  utf8proc_uint8_t bytes[4];
  if (!utf8proc_codepoint_valid(static_cast<utf8proc_int32_t>(code))) raise("an escape that is no character");
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(length)};
}

class Lexer {
 public:
  Lexer(const std::string& source, int& line) : source_(source), line_(line) { line_ = 1; }

  std::vector<Token> run() {
    bool line_starting = true;
    while (at_ < source_.size()) {
      const size_t open = next_tag();
      std::string data = source_.substr(at_, open - at_);
      if (open == std::string::npos || open >= source_.size()) {
        push(TokenKind::data, data);
        break;
      }
      const char kind = source_[open + 1];
      const char control = open + 2 < source_.size() ? source_[open + 2] : '\0';
      const int lines = static_cast<int>(std::count(data.begin(), data.end(), '\n'));
      if (control == '-') {
        data = stripped(data, Side::right);
      } else if (kind != '{' && control != '+') {  // lstrip_blocks
        const size_t start = data.rfind('\n') + 1;
        const bool blank = std::all_of(data.begin() + static_cast<std::ptrdiff_t>(start), data.end(), is_blank);
        if (blank && (start > 0 || line_starting)) data.resize(start);
      }
      push(TokenKind::data, data);
      line_ += lines;
      at_ = open + 2 + (control == '-' || (control == '+' && kind != '{') ? 1 : 0);
      const bool newline_eaten = kind == '#' ? comment() : tag(kind);
      line_starting = newline_eaten;
    }
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  size_t next_tag() const {
    for (size_t open = source_.find('{', at_); open != std::string::npos; open = source_.find('{', open + 1)) {
      const char kind = open + 1 < source_.size() ? source_[open + 1] : '\0';
      if (kind == '{' || kind == '%' || kind == '#') return open;
    }
    return std::string::npos;
  }

  void push(TokenKind kind, std::string text) {
    if (kind == TokenKind::data && text.empty()) return;
    tokens_.push_back({kind, std::move(text), line_});
  }

  void move(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  // Behind a tag: '-' takes all white space away, a block or comment one newline. True if it ended in a newline.
  bool finish(char control, bool takes_newline) {
    const size_t before = at_;
    if (control == '-') {
      const std::string rest = source_.substr(at_);
      move(source_.size() - stripped(rest, Side::left).size());
    } else if (takes_newline && control != '+' && at_ < source_.size() && source_[at_] == '\n') {
      move(at_ + 1);
    }
    return at_ > before && source_[at_ - 1] == '\n';
  }

  bool comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) raise("a comment is not closed: expected '#}'");
    const char control = close > at_ ? source_[close - 1] : '\0';
    move(close + 2);
    return finish(control == '-' || control == '+' ? control : '\0', true);
  }

  bool tag(char kind) {
    const bool block = kind == '%';
    if (block && is_raw()) return raw();
    push(block ? TokenKind::begin_block : TokenKind::begin_output, "");
    std::string open;  // brackets
    for (;;) {
      while (at_ < source_.size() && is_blank(source_[at_])) move(at_ + 1);
      if (at_ >= source_.size()) raise(fmt::format("a tag is not closed: expected '{}'", block ? "%}" : "}}"));
      const std::string close = block ? "%}" : "}}";
      if (open.empty()) {
        const char control = source_[at_] == '-' || source_[at_] == '+' ? source_[at_] : '\0';
        const size_t skip = control != '\0' ? 1 : 0;
        if (source_.compare(at_ + skip, 2, close) == 0 && (block || control != '+')) {
          move(at_ + skip + 2);
          push(block ? TokenKind::end_block : TokenKind::end_output, "");
          return finish(control, block);
        }
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const char c = source_[at_];
    const size_t begin = at_;
    if (is_name(c)) {
      size_t end = at_;
      while (end < source_.size() && (is_name(source_[end]) || is_digit(source_[end]))) ++end;
      at_ = end;
      push(TokenKind::name, source_.substr(begin, end - begin));
    } else if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      static constexpr std::array<const char*, 6> pairs = {"==", "!=", "<=", ">=", "//", "**"};
      for (const char* pair : pairs) {
        if (source_.compare(at_, 2, pair) == 0) {
          at_ += 2;
          return push(TokenKind::sign, pair);
        }
      }
      if (std::string("+-*/%~<>=()[]{},:.|").find(c) == std::string::npos) {
        raise(fmt::format("unexpected character '{}'", c));
      }
      if (c == '(' || c == '[' || c == '{') open += c;
      if (c == ')' || c == ']' || c == '}') {
        const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (open.empty() || open.back() != wanted) raise(fmt::format("unexpected '{}'", c));
        open.pop_back();
      }
      ++at_;
      push(TokenKind::sign, std::string(1, c));
    }
  }

  void number() {
    const size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && (is_digit(source_[at_]) || source_[at_] == '_')) ++at_;
    };
    digits();
    bool real = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
      real = true;
      ++at_;
      digits();
    }
    if (at_ + 1 < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      const size_t sign = source_[at_ + 1] == '-' || source_[at_ + 1] == '+' ? 1 : 0;
      if (at_ + 1 + sign < source_.size() && is_digit(source_[at_ + 1 + sign])) {
        real = true;
        at_ += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(begin, at_ - begin);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    push(real ? TokenKind::real : TokenKind::integer, text);
  }

  void string(char quote) {
    const size_t begin = at_;
    std::string text;
    for (++at_;; ++at_) {
      if (at_ >= source_.size()) raise("a string is not closed");
      const char c = source_[at_];
      if (c == quote) break;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (++at_ >= source_.size()) raise("a string is not closed");
      text += escape();
    }
    const size_t end = at_ + 1;
    push(TokenKind::text, text);
    at_ = begin;
    move(end);
  }

  std::string escape() {
    const char c = source_[at_];
    static const std::string names = "ntrabfv0\\'\"\n", meanings("\n\t\r\a\b\f\v\0\\'\"", 11);
    if (c == '\n') return "";
    if (const size_t place = names.find(c); place != std::string::npos && place < meanings.size()) {
      return std::string(1, meanings[place]);
    }
    const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (length == 0) return std::string("\\") + c;
    const std::string hexadecimal = source_.substr(at_ + 1, length);
    if (hexadecimal.size() != length || hexadecimal.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      raise(fmt::format("'\\{}' needs {} hexadecimal digits", c, length));
    }
    at_ += length;
    return encoded(static_cast<uint32_t>(std::stoul(hexadecimal, nullptr, 16)));
  }

  bool is_raw() const {
    size_t at = at_;
    while (at < source_.size() && is_blank(source_[at])) ++at;
    if (source_.compare(at, 3, "raw") != 0) return false;
    at += 3;
    while (at < source_.size() && is_blank(source_[at])) ++at;
    return source_.compare(at, 2, "%}") == 0 || source_.compare(at, 3, "-%}") == 0;
  }

  bool raw() {
    const size_t close = source_.find("%}", at_);
    const bool strip = source_[close - 1] == '-';
    move(close + 2);
    finish(strip ? '-' : '\0', true);
    for (size_t end = source_.find("{%", at_); end != std::string::npos; end = source_.find("{%", end + 1)) {
      size_t word = end + 2;
      const bool strip_left = word < source_.size() && source_[word] == '-';
      if (strip_left) ++word;
      while (word < source_.size() && is_blank(source_[word])) ++word;
      if (source_.compare(word, 6, "endraw") != 0) continue;
      std::string data = source_.substr(at_, end - at_);
      push(TokenKind::data, strip_left ? stripped(data, Side::right) : data);
      const size_t done = source_.find("%}", word);
      if (done == std::string::npos) break;
      const char control = source_[done - 1];
      move(done + 2);
      return finish(control == '-' ? '-' : '\0', true);
    }
    raise("raw is not closed: expected '{% endraw %}'");
  }

  const std::string& source_;
  int& line_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenise(const std::string& source, int& line) {
  return Lexer(source, line).run();
}

}  // namespace introspect::jinja
