#include "text/bpe_train.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/bpe_merge.h"
#include "text/pattern.h"
#include "text/split.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

#include <algorithm>
#include <unordered_map>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::string_view kWordExpression =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct WordHash {
  using is_transparent = void;
  size_t operator()(std::string_view word) const { return text::hash_bytes(word); }
};

std::string alphabet(std::string_view bytes) {
  std::string token;
  text::append_alphabet(token, bytes);
  return token;
}

Json token_object(const std::string& content) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", true}};
}

Json byte_level_object() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
}

}  // namespace

struct BpeTrainer::State {
  BpeTrainSettings settings;
  text::Pattern words_of = text::Pattern::regex(kWordExpression, "trainer");
  text::AddedTokens special;
  std::unordered_map<std::string, int64_t, WordHash, std::equal_to<>> counts;
  std::vector<std::pair<int32_t, int32_t>> merges;
  std::vector<std::string> tokens;  // bytes of each id, special tokens not among them
  bool trained = false;

  void check_trained() const {
    if (!trained) fail("tokenizer", "train() comes before the vocabulary is asked for");
  }
};

BpeTrainer::BpeTrainer(BpeTrainSettings settings) : state_(std::make_unique<State>()) {
  const auto& special = settings.special_tokens;
  if (settings.vocab_size < 256 + static_cast<int64_t>(special.size()) || settings.vocab_size > text::kHighestId) {
    fail_usage("tokenizer", fmt::format("vocabulary size: got {}, expected {} to {} (256 bytes and {} special tokens)",
                                        settings.vocab_size, 256 + special.size(), text::kHighestId, special.size()));
  }
  for (size_t i = 0; i < special.size(); ++i) {
    if (special[i].size() < 2 || !text::is_valid_utf8(special[i])) {
      fail_usage("tokenizer", "special token \"" + special[i] + "\": expected at least two bytes of UTF-8");
    }
    if (std::count(special.begin(), special.end(), special[i]) > 1) {
      fail_usage("tokenizer", "special token \"" + special[i] + "\" is given twice");
    }
    text::AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = special[i];
    token.normalized = false;
    token.special = true;
    state_->special.add(std::move(token));
  }
  for (const std::string* part : {&settings.bos_token, &settings.eos_token, &settings.pad_token}) {
    if (!part->empty() && std::count(special.begin(), special.end(), *part) == 0) {
      fail_usage("tokenizer", "\"" + *part + "\" is not among the special tokens");
    }
  }
  state_->special.finish();
  state_->settings = std::move(settings);
}

BpeTrainer::~BpeTrainer() = default;
BpeTrainer::BpeTrainer(BpeTrainer&&) noexcept = default;
BpeTrainer& BpeTrainer::operator=(BpeTrainer&&) noexcept = default;

void BpeTrainer::add(std::string_view given, int64_t weight) {
  if (weight < 1) fail("tokenizer", fmt::format("weight of a text: got {}, expected 1 or more", weight));
  std::string repaired;
  if (!text::is_valid_utf8(given)) {
    repaired = text::replace_invalid_utf8(given);
    given = repaired;
  }
  std::vector<text::Segment> segments;
  state_->special.split(given, false, true, segments);
  std::vector<text::Range> words;
  for (const text::Segment& segment : segments) {
    if (segment.id < 0) words.push_back(segment.range);
  }
  text::split_ranges(given, words, state_->words_of, false, text::SplitBehavior::isolated);
  auto& counts = state_->counts;
  for (const text::Range& range : words) {
    const std::string_view word = given.substr(range.begin, range.size());
    const auto found = counts.find(word);
    if (found != counts.end()) {
      found->second += weight;
    } else {
      counts.emplace(word, weight);
    }
  }
}

int64_t BpeTrainer::word_count() const {
  return static_cast<int64_t>(state_->counts.size());
}

void BpeTrainer::train() {
  State& state = *state_;
  std::vector<text::CountedWord> words;
  words.reserve(state.counts.size());
  for (const auto& [bytes, count] : state.counts) {
    text::CountedWord word;
    word.count = count;
    for (const char byte : bytes) word.symbols.push_back(static_cast<unsigned char>(byte));
    words.push_back(std::move(word));
  }
  const auto special = static_cast<int64_t>(state.settings.special_tokens.size());
  state.merges = text::learn_merges(std::move(words), state.settings.vocab_size - special - 256, 256,
                                    state.settings.smallest_count);
  state.tokens.clear();
  for (int byte = 0; byte < 256; ++byte) state.tokens.emplace_back(1, static_cast<char>(byte));
  for (const auto& [left, right] : state.merges) {
    std::string joined = state.tokens[static_cast<size_t>(left)] + state.tokens[static_cast<size_t>(right)];
    state.tokens.push_back(std::move(joined));
  }
  state.trained = true;
}

const std::vector<std::pair<int32_t, int32_t>>& BpeTrainer::merges() const {
  return state_->merges;
}

int64_t BpeTrainer::vocab_size() const {
  return static_cast<int64_t>(state_->tokens.size() + state_->settings.special_tokens.size());
}

std::string BpeTrainer::tokenizer_json() const {
  state_->check_trained();
  const State& state = *state_;
  const BpeTrainSettings& settings = state.settings;
  Json added = Json::array();
  for (size_t i = 0; i < settings.special_tokens.size(); ++i) {
    Json token = {{"id", state.tokens.size() + i}};
    token.update(token_object(settings.special_tokens[i]));
    added.push_back(std::move(token));
  }
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kWordExpression}}}, {"behavior", "Isolated"}, {"invert", false}};
  Json post = byte_level_object();
  if (!settings.bos_token.empty()) {
    const std::string& bos = settings.bos_token;
    const auto place = std::find(settings.special_tokens.begin(), settings.special_tokens.end(), bos);
    const int64_t id = static_cast<int64_t>(state.tokens.size()) + (place - settings.special_tokens.begin());
    const auto item = [](const char* kind, const std::string& name, int type) -> Json {
      return {{kind, {{"id", name}, {"type_id", type}}}};
    };
    Json special = Json::object();
    special[bos] = {{"id", bos}, {"ids", Json::array({id})}, {"tokens", Json::array({bos})}};
    post = {{"type", "TemplateProcessing"},
            {"single", Json::array({item("SpecialToken", bos, 0), item("Sequence", "A", 0)})},
            {"pair", Json::array({item("SpecialToken", bos, 0), item("Sequence", "A", 0), item("SpecialToken", bos, 1),
                                  item("Sequence", "B", 1)})},
            {"special_tokens", special}};
  }
  Json vocabulary = Json::object(), merges = Json::array();
  for (size_t id = 0; id < state.tokens.size(); ++id) {
    // straight into the list: operator[] would look through all of it
    vocabulary.get_ref<Json::object_t&>().emplace_back(alphabet(state.tokens[id]), id);
  }
  for (const auto& [left, right] : state.merges) {
    merges.push_back(alphabet(state.tokens[static_cast<size_t>(left)]) + " " +
                     alphabet(state.tokens[static_cast<size_t>(right)]));
  }
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", std::move(vocabulary)},
                      {"merges", std::move(merges)}};
  const Json whole = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added)},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level_object()})}}},
      {"post_processor", std::move(post)},
      {"decoder", byte_level_object()},
      {"model", model}};
  return whole.dump(1, '\t') + "\n";
}

std::string BpeTrainer::config_json() const {
  state_->check_trained();
  const BpeTrainSettings& settings = state_->settings;
  Json decoder = Json::object();
  for (size_t i = 0; i < settings.special_tokens.size(); ++i) {
    decoder[std::to_string(state_->tokens.size() + i)] = token_object(settings.special_tokens[i]);
  }
  Json config = {{"added_tokens_decoder", decoder}};
  if (!settings.bos_token.empty()) config["bos_token"] = settings.bos_token;
  if (!settings.eos_token.empty()) config["eos_token"] = settings.eos_token;
  if (!settings.pad_token.empty()) config["pad_token"] = settings.pad_token;
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config.dump(2) + "\n";
}

void BpeTrainer::write(const fs::path& folder) const {
  fs::create_directories(folder);
  write_text(folder / "tokenizer.json", tokenizer_json());
  write_text(folder / "tokenizer_config.json", config_json());
}

}  // namespace introspect
