#include "base/error.h"
#include "base/json.h"

#include <string_view>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// nlohmann's messages begin with "[json.exception.parse_error.101] "; the reader of an error has no use for it.
std::string without_prefix(std::string_view text) {
  const size_t end = text.find("] ");
  if (text.starts_with("[json.exception") && end != std::string_view::npos) text.remove_prefix(end + 2);
  return std::string(text);
}

// Builds the value out of the parser's events. nlohmann's own builder looks every new key up among the earlier ones
// of its object, one by one: a tokenizer.json of 150,000 words takes it half a minute. Here keys are appended, and
// duplicates are looked for once an object is complete.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view label, bool unique_keys) : label_(label), unique_keys_(unique_keys) {}
  Json take() { return std::move(root_); }

  bool null() override { return place(nullptr), true; }
  bool boolean(bool value) override { return place(value), true; }
  bool number_integer(int64_t value) override { return place(value), true; }
  bool number_unsigned(uint64_t value) override { return place(value), true; }
  bool number_float(double value, const std::string&) override { return place(value), true; }
  bool string(std::string& value) override { return place(std::move(value)), true; }
  bool binary(Json::binary_t&) override { return false; }  // only binary formats have it
  bool start_object(size_t) override { return open(Json::object()), true; }
  bool start_array(size_t) override { return open(Json::array()), true; }
  bool end_array() override { return open_.pop_back(), true; }
  bool key(std::string& name) override {
    members(*open_.back()).emplace_back(std::move(name), nullptr);
    return true;
  }
  bool end_object() override {
    merge_duplicates(members(*open_.back()));
    open_.pop_back();
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    fail("json", fmt::format("{} ({})", without_prefix(error.what()), label_));
  }

 private:
  // A file of a million brackets must not end the process: what later walks a value recurses. No published
  // configuration is nested as deep as this.
  static constexpr size_t kDeepest = 512;

  using Members = std::vector<std::pair<const std::string, Json>>;
  static Members& members(Json& object) { return object.get_ref<Json::object_t&>(); }

  // Puts a value where it belongs: at the root, behind the elements of a list, or at the key just read.
  template <class Value>
  Json* place(Value&& value) {
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      auto& list = parent.get_ref<Json::array_t&>();
      list.emplace_back(std::forward<Value>(value));
      return &list.back();
    }
    Json& last = members(parent).back().second;
    last = std::forward<Value>(value);
    return &last;
  }

  // The pointers stay good: a list grows only while none of its elements is open.
  void open(Json value) {
    if (open_.size() == kDeepest) fail("json", fmt::format("nested deeper than {} levels ({})", kDeepest, label_));
    open_.push_back(place(std::move(value)));
  }

  // Of a key given twice the last value counts, as in Python, and stands where the first one stood.
  void merge_duplicates(Members& all) const {
    if (all.size() < 2) return;
    std::unordered_set<std::string_view> seen;
    bool twice = false;
    for (const auto& [name, value] : all) {
      if (seen.insert(name).second) continue;
      if (unique_keys_) fail("json", fmt::format("key '{}' is given twice ({})", name, label_));
      twice = true;
    }
    if (!twice) return;
    Json merged = Json::object();
    for (auto& [name, value] : all) merged[name] = std::move(value);
    all.swap(members(merged));
  }

  std::string_view label_;
  bool unique_keys_;
  Json root_;
  std::vector<Json*> open_;  // the objects and lists around the next value
};

Json parse(std::string_view text, std::string_view label, bool unique_keys) {
  Builder builder(label, unique_keys);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace

Json parse_json(std::string_view text, std::string_view label) {
  return parse(text, label, false);
}

Json parse_json_unique(std::string_view text, std::string_view label) {
  return parse(text, label, true);
}

}  // namespace introspect
