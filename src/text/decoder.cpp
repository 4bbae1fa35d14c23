#include "text/decoder.h"

#include "base/error.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace introspect::text {

namespace {

using Step = Decoder::Step;

void join(std::vector<std::string>& tokens, std::string_view between = "") {
  std::string whole;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) whole += between;
    whole += tokens[i];
  }
  tokens.assign(1, std::move(whole));
}

struct ByteLevel : Step {
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      if (!append_alphabet_bytes(bytes, token)) bytes += token;
    }
    tokens.assign(1, is_valid_utf8(bytes) ? std::move(bytes) : replace_invalid_utf8(bytes));
  }
  void piece(std::string& token) const override {
    std::string bytes;
    if (append_alphabet_bytes(bytes, token)) token = std::move(bytes);
  }
};

// The byte of a token "<0x0A>", or -1.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token.back() != '>') return -1;
  int value = 0;
  for (const char digit : token.substr(3, 2)) {
    const int number = digit >= '0' && digit <= '9'   ? digit - '0'
                       : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                       : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                      : -1;
    if (number < 0) return -1;
    value = value * 16 + number;
  }
  return value;
}

struct ByteFallback : Step {
  // A run of byte tokens that is no valid UTF-8 as a whole becomes one U+FFFD a byte, as in Hugging Face's.
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> fresh;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        fresh.push_back(run);
      } else {
        fresh.insert(fresh.end(), run.size(), "\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      const int byte = fallback_byte(token);
      if (byte >= 0) {
        run += static_cast<char>(byte);
      } else {
        flush();
        fresh.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(fresh);
  }
  void piece(std::string& token) const override {
    const int byte = fallback_byte(token);
    if (byte >= 0) token.assign(1, static_cast<char>(byte));
  }
};

struct Fuse : Step {
  void apply(std::vector<std::string>& tokens) const override { join(tokens); }
  void piece(std::string&) const override {}
};

struct Replace : Step {
  Pattern pattern;
  std::string content;
  Replace(Pattern wanted, std::string with) : pattern(std::move(wanted)), content(std::move(with)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) piece(token);
  }
  void piece(std::string& token) const override {
    std::vector<Range> matches;
    pattern.find_all(token, matches);
    if (matches.empty()) return;
    std::string fresh;
    size_t kept = 0;
    for (const Range& match : matches) {
      fresh.append(token, kept, match.begin - kept).append(content);
      kept = match.end;
    }
    token = fresh.append(token, kept);
  }
};

// Takes up to `start` characters off the front of every token and up to `stop` off its end.
struct Strip : Step {
  std::string content;
  int64_t start, stop;
  Strip(std::string character, int64_t front, int64_t back) : content(std::move(character)), start(front), stop(back) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      if (rest.size() != token.size()) token = std::string(rest);
    }
  }
  void piece(std::string&) const override {}  // it is about the ends of the whole text
};

struct Metaspace : Step {
  std::string replacement;
  bool drop_first;
  Metaspace(std::string character, bool drops_first) : replacement(std::move(character)), drop_first(drops_first) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace(tokens[i], i == 0 && drop_first ? "" : " ");
  }
  void piece(std::string& token) const override { replace(token, " "); }
  void replace(std::string& token, std::string_view by) const {
    for (size_t at = token.find(replacement); at != std::string::npos; at = token.find(replacement, at + by.size())) {
      token.replace(at, replacement.size(), by);
    }
  }
};

}  // namespace

Decoder::Decoder(const Part& part) : given_(true) {
  add(part);
}

void Decoder::add(const Part& part) {
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.list("decoders")) add(inner);
  } else if (type == "ByteLevel") {
    steps_.push_back(std::make_shared<ByteLevel>());
  } else if (type == "ByteFallback") {
    steps_.push_back(std::make_shared<ByteFallback>());
  } else if (type == "Fuse") {
    steps_.push_back(std::make_shared<Fuse>());
  } else if (type == "Replace") {
    steps_.push_back(std::make_shared<Replace>(part.pattern(), part.text("content")));
  } else if (type == "Strip") {
    const std::string content = part.text("content");
    if (count_characters(content) != 1) part.reject("content must be one character");
    steps_.push_back(std::make_shared<Strip>(content, part.integer("start"), part.integer("stop")));
  } else if (type == "Metaspace") {
    const std::string replacement = part.text_or("replacement", "\xE2\x96\x81");
    if (count_characters(replacement) != 1) part.reject("replacement must be one character");
    const std::string scheme =
        part.text_or("prepend_scheme", part.flag_or("add_prefix_space", true) ? "always" : "never");
    steps_.push_back(std::make_shared<Metaspace>(replacement, scheme != "never"));
  } else {
    part.unknown_type("Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace");
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) step->apply(tokens);
  join(tokens, given_ ? "" : " ");
  return std::move(tokens.front());
}

std::string Decoder::piece(std::string_view token) const {
  std::string bytes(token);
  for (const auto& step : steps_) step->piece(bytes);
  return bytes;
}

}  // namespace introspect::text
