#include "text/tokenizer_file.h"

#include "base/error.h"

#include <nlohmann/json.hpp>

namespace introspect::text {

namespace {

using Json = nlohmann::json;

// Receives nlohmann's events. A DOM of Llama-3's 128,000 tokens and 280,000 merges would cost most of the opening.
class Receiver final : public nlohmann::json_sax<Json> {
 public:
  Receiver(TokenizerFile& file, Json& rest) : file_(file), rest_(rest) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool flag) override { return value(flag); }
  bool number_float(number_float_t number, const string_t& text) override {
    (void)text;
    return value(number);
  }
  bool number_integer(number_integer_t number) override {
    return place_ == Place::vocabulary ? bad_id() : value(number);
  }
  bool number_unsigned(number_unsigned_t number) override {
    return place_ == Place::vocabulary ? add_token(number) : value(number);
  }
  bool string(string_t& text) override { return place_ == Place::merges ? add_merge(text) : value(std::move(text)); }
  bool binary(binary_t&) override { return false; }

  bool key(string_t& name) override {
    key_ = std::move(name);
    return true;
  }

  bool start_object(size_t) override {
    if (place_ != Place::elsewhere) return reject_value();
    if (in_model() && key_ == "vocab") {
      if (file_.has_vocabulary) fail("tokenizer", fmt::format("model.vocab occurs twice ({})", file_.label));
      file_.has_vocabulary = true;
      place_ = Place::vocabulary;
      return true;
    }
    return open(Json::object());
  }
  bool end_object() override {
    if (place_ == Place::vocabulary) {
      place_ = Place::elsewhere;
      return true;
    }
    open_.pop_back();
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::merges && !in_pair_) {
      in_pair_ = true;
      pair_.clear();
      return true;
    }
    if (place_ != Place::elsewhere) return reject_value();
    if (in_model() && key_ == "merges") {
      if (file_.has_merges) fail("tokenizer", fmt::format("model.merges occurs twice ({})", file_.label));
      file_.has_merges = true;
      place_ = Place::merges;
      return true;
    }
    return open(Json::array());
  }
  bool end_array() override {
    if (place_ != Place::merges) {
      open_.pop_back();
    } else if (in_pair_) {
      in_pair_ = false;
      if (pair_.size() != 2) return reject_merge(fmt::format("{} texts", pair_.size()));
      file_.merges.add(pair_[0], pair_[1]);
    } else {
      place_ = Place::elsewhere;
    }
    return true;
  }

  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& error) override {
    fail("tokenizer", fmt::format("no valid JSON at byte {}: {} ({})", byte, error.what(), file_.label),
         "the file may be cut off, or be a Git LFS pointer instead of the file itself");
  }

 private:
  enum class Place { elsewhere, vocabulary, merges };

  bool in_model() const { return open_.size() == 2 && model_ == open_.back(); }

  Json* put(Json&& fresh) {
    if (open_.empty()) {
      rest_ = std::move(fresh);
      return &rest_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(fresh));
      return &parent.back();
    }
    Json& member = parent[key_];
    member = std::move(fresh);
    return &member;
  }

  bool open(Json&& container) {
    const bool is_model = open_.size() == 1 && rest_.is_object() && key_ == "model" && container.is_object();
    open_.push_back(put(std::move(container)));
    if (is_model) model_ = open_.back();
    return true;
  }

  bool value(Json&& fresh) {
    if (place_ != Place::elsewhere) return reject_value();
    put(std::move(fresh));
    return true;
  }

  bool add_token(uint64_t id) {
    if (id > static_cast<uint64_t>(kHighestId)) return bad_id();
    switch (file_.vocabulary.add(key_, static_cast<int32_t>(id))) {
      case Vocabulary::Added::text_taken:
        fail("tokenizer", fmt::format("model.vocab: the token \"{}\" occurs twice ({})", key_, file_.label));
      case Vocabulary::Added::id_taken:
        fail("tokenizer", fmt::format("model.vocab: the id {} belongs to both \"{}\" and \"{}\" ({})", id,
                                      file_.vocabulary.token(static_cast<int64_t>(id)), key_, file_.label));
      default:
        return true;
    }
  }

  bool bad_id() const {
    fail("tokenizer", fmt::format("model.vocab: the id of \"{}\" is not an integer from 0 to {} ({})", key_, kHighestId,
                                  file_.label));
  }

  bool add_merge(std::string& text) {
    if (in_pair_) {
      pair_.push_back(std::move(text));
      if (pair_.size() > 2) return reject_merge("more than two texts");
      return true;
    }
    if (text.starts_with("#version")) return true;  // the first line of a merges.txt
    const size_t blank = text.find(' ');
    if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
      return reject_merge("\"" + text + "\"");
    }
    file_.merges.add(std::string_view(text).substr(0, blank), std::string_view(text).substr(blank + 1));
    return true;
  }

  bool reject_merge(const std::string& got) const {
    fail("tokenizer", fmt::format("model.merges[{}]: got {}, expected two texts with a blank between them, or an array "
                                  "of two ({})",
                                  file_.merges.size(), got, file_.label));
  }

  bool reject_value() const {
    if (place_ == Place::vocabulary) return bad_id();
    return reject_merge("a value of another kind");
  }

  TokenizerFile& file_;
  Json& rest_;
  std::vector<Json*> open_;  // the containers around the next value
  Json* model_ = nullptr;
  std::string key_;
  Place place_ = Place::elsewhere;
  bool in_pair_ = false;
  std::vector<std::string> pair_;
};

}  // namespace

void MergeList::add(std::string_view left, std::string_view right) {
  bytes_.append(left);
  const size_t middle = bytes_.size();
  bytes_.append(right);
  ends_.emplace_back(middle, bytes_.size());
}

std::pair<std::string_view, std::string_view> MergeList::operator[](size_t index) const {
  const size_t begin = index == 0 ? 0 : ends_[index - 1].second;
  const auto [middle, end] = ends_[index];
  const std::string_view bytes = bytes_;
  return {bytes.substr(begin, middle - begin), bytes.substr(middle, end - middle)};
}

TokenizerFile::TokenizerFile() : rest_(std::make_unique<Json>()) {}
TokenizerFile::~TokenizerFile() = default;
TokenizerFile::TokenizerFile(TokenizerFile&&) noexcept = default;

TokenizerFile read_tokenizer_file(std::string_view text, const std::string& label) {
  TokenizerFile file;
  file.label = label;
  Receiver receiver(file, *file.rest_);
  Json::sax_parse(text.begin(), text.end(), &receiver);
  if (!file.rest_->is_object()) fail("tokenizer", fmt::format("expected a JSON object ({})", label));
  return file;
}

}  // namespace introspect::text
