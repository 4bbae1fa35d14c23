#include "text/pre_tokenizer.h"

#include "base/error.h"
#include "text/pattern.h"
#include "text/split.h"
#include "text/utf8.h"

namespace introspect::text {

namespace {

using Step = PreTokenizer::Step;

constexpr std::string_view kByteLevelExpression =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// Builds every piece anew: `rewrite` appends the new form of a piece to the new text.
template <class Rewrite>
void rewrite_pieces(Pieces& pieces, const Rewrite& rewrite) {
  AlignedText fresh;
  fresh.tracked = pieces.whole.tracked;
  fresh.text.reserve(pieces.whole.text.size());
  for (Range& range : pieces.ranges) {
    const size_t begin = fresh.text.size();
    rewrite(fresh, range);
    range = {begin, fresh.text.size()};
  }
  pieces.whole = std::move(fresh);
}

// What is put in front of a piece counts to its first character, as in Hugging Face's offsets.
Range first_place(const AlignedText& text, Range range) {
  return text.origin({range.begin, range.begin + known_character(text.text.data() + range.begin).length});
}

struct Split : Step {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;
  Split(Pattern at, SplitBehavior how, bool inverted) : pattern(std::move(at)), behavior(how), invert(inverted) {}
  void apply(Pieces& pieces) const override {
    split_ranges(pieces.whole.text, pieces.ranges, pattern, invert, behavior);
  }
};

struct SplitAtCharacters : Step {
  bool (*matches)(uint32_t);
  SplitBehavior behavior;
  SplitAtCharacters(bool (*which)(uint32_t), SplitBehavior how) : matches(which), behavior(how) {}
  void apply(Pieces& pieces) const override { split_ranges(pieces.whole.text, pieces.ranges, matches, behavior); }
};

// ByteLevel's option add_prefix_space.
struct PrefixSpace : Step {
  void apply(Pieces& pieces) const override {
    rewrite_pieces(pieces, [&](AlignedText& fresh, Range range) {
      if (pieces.whole.text[range.begin] != ' ') fresh.append(" ", first_place(pieces.whole, range));
      fresh.append(pieces.whole, range);
    });
  }
};

// Writes every byte as its letter of GPT-2's alphabet.
struct ByteAlphabet : Step {
  void apply(Pieces& pieces) const override {
    std::string letter;
    rewrite_pieces(pieces, [&](AlignedText& fresh, Range range) {
      for (size_t i = range.begin; i < range.end; ++i) {
        letter.clear();
        append_code_point(letter, byte_to_alphabet(static_cast<unsigned char>(pieces.whole.text[i])));
        fresh.append(letter, pieces.whole.origin({i, i + 1}));
      }
    });
  }
};

struct Metaspace : Step {
  enum class Prepend { always, first, never };
  std::string replacement;
  Prepend prepend = Prepend::always;
  bool split = true;

  void apply(Pieces& pieces) const override {
    const AlignedText& old = pieces.whole;
    size_t index = 0;
    rewrite_pieces(pieces, [&](AlignedText& fresh, Range range) {
      const bool first = index++ == 0 && pieces.at_start;
      const std::string_view text = std::string_view(old.text).substr(range.begin, range.size());
      const bool there = text.front() == ' ' || text.substr(0, replacement.size()) == replacement;
      if (!there && (prepend == Prepend::always || (prepend == Prepend::first && first))) {
        fresh.append(replacement, first_place(old, range));
      }
      size_t done = range.begin;
      for (size_t i = range.begin; i < range.end; ++i) {
        if (old.text[i] != ' ') continue;
        fresh.append(old, {done, i});
        fresh.append(replacement, old.origin({i, i + 1}));
        done = i + 1;
      }
      fresh.append(old, {done, range.end});
    });
    if (split) {
      split_ranges(pieces.whole.text, pieces.ranges, Pattern::literal(replacement), false,
                   SplitBehavior::merged_with_next);
    }
  }
};

std::shared_ptr<const Step> metaspace(const Part& part) {
  auto step = std::make_shared<Metaspace>();
  step->replacement = part.text_or("replacement", "\xE2\x96\x81");
  if (count_characters(step->replacement) != 1) part.reject("replacement must be one character");
  step->split = part.flag_or("split", true);
  // older files say add_prefix_space, newer ones prepend_scheme
  const std::string scheme =
      part.text_or("prepend_scheme", part.flag_or("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    part.reject("prepend_scheme: got \"" + scheme + "\", expected always, first or never");
  }
  step->prepend = scheme == "always"  ? Metaspace::Prepend::always
                  : scheme == "first" ? Metaspace::Prepend::first
                                      : Metaspace::Prepend::never;
  return step;
}

std::shared_ptr<const Step> split_at(Pattern pattern, SplitBehavior behavior, bool invert = false) {
  return std::make_shared<Split>(std::move(pattern), behavior, invert);
}

}  // namespace

PreTokenizer::PreTokenizer(const Part& part) {
  add(part);
}

void PreTokenizer::add(const Part& part) {
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.list("pretokenizers")) add(inner);
    return;
  }
  if (ends_in_byte_level_) steps_.push_back(std::make_shared<ByteAlphabet>());  // what follows sees the letters
  ends_in_byte_level_ = false;
  if (type == "Split") {
    steps_.push_back(split_at(part.pattern(), split_behavior(part, ""), part.flag_or("invert", false)));
  } else if (type == "ByteLevel") {
    if (part.flag_or("add_prefix_space", true)) steps_.push_back(std::make_shared<PrefixSpace>());
    if (part.flag_or("use_regex", true)) {
      steps_.push_back(split_at(Pattern::regex(kByteLevelExpression, part.name("use_regex")), SplitBehavior::isolated));
    }
    ends_in_byte_level_ = true;
  } else if (type == "Digits") {
    const bool individual = part.flag_or("individual_digits", false);
    steps_.push_back(std::make_shared<SplitAtCharacters>(
        is_numeric, individual ? SplitBehavior::isolated : SplitBehavior::contiguous));
  } else if (type == "Metaspace") {
    steps_.push_back(metaspace(part));
  } else if (type == "Whitespace") {
    const auto expression =
        "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]+|"
        "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}\\s]+";
    steps_.push_back(split_at(Pattern::regex(expression, part.name()), SplitBehavior::removed, true));
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(std::make_shared<SplitAtCharacters>(is_white_space, SplitBehavior::removed));
  } else if (type == "Punctuation") {
    steps_.push_back(std::make_shared<SplitAtCharacters>(is_punctuation, split_behavior(part, "Isolated")));
  } else if (type == "CharDelimiterSplit") {
    steps_.push_back(split_at(Pattern::literal(part.text("delimiter")), SplitBehavior::removed));
  } else {
    part.unknown_type(
        "Sequence, Split, ByteLevel, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, CharDelimiterSplit");
  }
}

void PreTokenizer::apply(Pieces& pieces) const {
  for (const auto& step : steps_) step->apply(pieces);
  if (ends_in_byte_level_ && keep_alphabet_) ByteAlphabet().apply(pieces);
}

}  // namespace introspect::text
