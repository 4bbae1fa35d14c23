#include "text/tokenizer.h"

#include "base/error.h"
#include "base/files.h"
#include "text/tokenizer_state.h"
#include "text/utf8.h"

namespace introspect {

using text::AlignedText;
using text::Range;
using text::Segment;

namespace {

constexpr size_t kLongestText = size_t{1} << 31;  // places inside a piece are 32 bits wide

// One call of encode. Reads from top to bottom: text, raw segments, normalized segments, pieces, tokens.
class Encoder {
 public:
  Encoder(const text::TokenizerState& state, bool with_special, bool tracked)
      : state_(state), with_special_(with_special), tracked_(tracked), workspace_(state.take_workspace()) {}
  ~Encoder() { state_.give_workspace(std::move(workspace_)); }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  std::vector<int64_t> ids;
  std::vector<std::pair<size_t, size_t>> offsets;

  void encode(std::string_view given) {
    if (given.size() >= kLongestText) fail("tokenizer", "the text is longer than 2 GiB", "give it in parts");
    if (!text::is_valid_utf8(given)) return encode_invalid(given);
    if (!tracked_) ids.reserve(ids.size() + given.size() / 4);
    std::vector<Segment> segments;
    state_.added.split(given, false, with_special_, segments);
    for (const Segment& segment : segments) {
      if (segment.id >= 0) {
        put(segment.id, segment.range);
      } else {
        encode_raw(AlignedText::original(given.substr(segment.range.begin, segment.range.size()), segment.range.begin,
                                         tracked_),
                   segment.range.begin == 0);
      }
    }
  }

 private:
  void encode_invalid(std::string_view given) {
    const std::string valid = text::replace_invalid_utf8(given);
    const size_t first = offsets.size();
    encode(valid);
    if (!tracked_) return;
    // places in `valid` back to places in `given`: at every byte of `valid` where its character begins
    std::vector<size_t> place(valid.size() + 1, given.size());
    size_t from = 0;
    for (size_t at = 0; at < valid.size();) {
      const uint32_t length = text::known_character(valid.data() + at).length;
      const text::Character character = text::first_character(given.substr(from));
      for (uint32_t i = 0; i < length; ++i) place[at + i] = character.valid ? from + i : from;
      at += length;
      from += character.length;
    }
    for (size_t i = first; i < offsets.size(); ++i) {
      auto& [begin, end] = offsets[i];
      size_t last = place[end];
      if (end > begin && last == place[end - 1]) last = place[begin] + 1;  // inside of a U+FFFD
      begin = place[begin];
      end = std::max(begin, last);
    }
  }

  void encode_raw(AlignedText raw, bool at_start) {
    state_.normalizer.apply(raw);
    if (!state_.added.has_any(true)) return encode_pieces(std::move(raw), at_start);
    std::vector<Segment> segments;
    state_.added.split(raw.text, true, with_special_, segments);
    if (segments.size() == 1 && segments.front().id < 0) return encode_pieces(std::move(raw), at_start);
    for (const Segment& segment : segments) {
      if (segment.id >= 0) {
        put(segment.id, raw.origin(segment.range));
        continue;
      }
      AlignedText part;
      part.tracked = tracked_;
      part.append(raw, segment.range);
      encode_pieces(std::move(part), at_start && segment.range.begin == 0);
    }
  }

  void encode_pieces(AlignedText whole, bool at_start) {
    if (whole.text.empty()) return;
    const size_t length = whole.text.size();
    text::Pieces pieces{std::move(whole), {{0, length}}, at_start};
    state_.pre_tokenizer.apply(pieces);
    const std::string_view bytes = pieces.whole.text;
    for (const Range& range : pieces.ranges) {
      if (!tracked_) {
        state_.model->encode(bytes.substr(range.begin, range.size()), *workspace_, ids);
        continue;
      }
      state_.model->encode(bytes.substr(range.begin, range.size()), *workspace_, symbols_);
      for (const text::Symbol& symbol : symbols_) {
        const size_t begin = range.begin + symbol.begin;
        put(symbol.id, pieces.whole.origin({begin, begin + symbol.length}));
      }
    }
  }

  void put(int32_t id, Range range) {
    ids.push_back(id);
    if (tracked_) offsets.emplace_back(range.begin, range.end);
  }

  const text::TokenizerState& state_;
  bool with_special_, tracked_;
  std::unique_ptr<text::BpeWorkspace> workspace_;
  std::vector<text::Symbol> symbols_;
};

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const text::TokenizerState> state) : state_(std::move(state)) {}

Tokenizer Tokenizer::open(const fs::path& folder) {
  const fs::path path = folder / "tokenizer.json", config = folder / "tokenizer_config.json";
  if (!fs::exists(path)) {
    fail("tokenizer", fmt::format("there is no tokenizer.json in {}", folder.string()),
         "a folder with only tokenizer.model or vocab.json must be converted once with Hugging Face transformers");
  }
  auto state = std::make_shared<text::TokenizerState>(read_text(path), path.string());
  if (fs::exists(config)) state->read_config(read_text(config), config.string());
  if (const fs::path jinja = folder / "chat_template.jinja"; fs::exists(jinja)) state->chat_template = read_text(jinja);
  return Tokenizer(std::move(state));
}

Tokenizer Tokenizer::from_file(const fs::path& tokenizer_json) {
  return Tokenizer(std::make_shared<text::TokenizerState>(read_text(tokenizer_json), tokenizer_json.string()));
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view config_json,
                               const std::string& label) {
  auto state = std::make_shared<text::TokenizerState>(tokenizer_json, label);
  if (!config_json.empty()) state->read_config(config_json, label + " (configuration)");
  return Tokenizer(std::move(state));
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  Encoder encoder(*state_, true, false);
  if (add_special_tokens) encoder.ids = state_->post_processor.before;
  encoder.encode(text);
  if (add_special_tokens) {
    const std::vector<int64_t>& after = state_->post_processor.after;
    encoder.ids.insert(encoder.ids.end(), after.begin(), after.end());
  }
  return std::move(encoder.ids);
}

std::vector<int64_t> Tokenizer::encode_plain(std::string_view text) const {
  Encoder encoder(*state_, false, false);
  encoder.encode(text);
  return std::move(encoder.ids);
}

Encoding Tokenizer::encode_with_offsets(std::string_view text, bool add_special_tokens) const {
  Encoder encoder(*state_, true, true);
  const text::PostProcessor& added = state_->post_processor;
  if (add_special_tokens) {
    encoder.ids = added.before;
    encoder.offsets.resize(added.before.size());
  }
  encoder.encode(text);
  if (add_special_tokens) {
    encoder.ids.insert(encoder.ids.end(), added.after.begin(), added.after.end());
    encoder.offsets.resize(encoder.ids.size());
  }
  return {std::move(encoder.ids), std::move(encoder.offsets)};
}

std::string Tokenizer::decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    if (!state_->vocabulary.contains(id) || (skip_special_tokens && is_special(id))) continue;
    tokens.emplace_back(state_->text_for_decoder(id));
  }
  return state_->decoder.decode(std::move(tokens));
}

std::string Tokenizer::piece(int64_t id) const {
  return state_->decoder.piece(state_->text_for_decoder(id));
}

std::string Tokenizer::token(int64_t id) const {
  return std::string(state_->vocabulary.token(id));
}

std::optional<int64_t> Tokenizer::id(std::string_view token) const {
  const int32_t id = state_->vocabulary.find(token);
  return id < 0 ? std::nullopt : std::optional<int64_t>(id);
}

int64_t Tokenizer::vocab_size() const {
  return state_->vocabulary.size();
}

bool Tokenizer::is_special(int64_t id) const {
  return state_->added.is_special(id);
}

std::optional<int64_t> Tokenizer::bos() const {
  return state_->bos;
}
std::optional<int64_t> Tokenizer::eos() const {
  return state_->eos;
}
std::optional<int64_t> Tokenizer::pad() const {
  return state_->pad;
}

const std::vector<int64_t>& Tokenizer::added_before() const {
  return state_->post_processor.before;
}
const std::vector<int64_t>& Tokenizer::added_after() const {
  return state_->post_processor.after;
}

bool Tokenizer::adds_bos() const {
  return state_->bos && !added_before().empty() && added_before().front() == *state_->bos;
}

const std::optional<std::string>& Tokenizer::chat_template() const {
  return state_->chat_template;
}

}  // namespace introspect
