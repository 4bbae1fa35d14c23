#include "text/part.h"

#include "base/error.h"
#include "text/pattern.h"

#include <nlohmann/json.hpp>

namespace introspect::text {

namespace {
constexpr int kDeepest = 32;  // sequences of sequences; nobody writes more than two
}

Part::Part(const nlohmann::json& value, std::string path, std::string file, int depth)
    : value_(&value), path_(std::move(path)), file_(std::move(file)), depth_(depth) {
  if (!value.is_object()) fail("tokenizer", fmt::format("{}: got {}, expected an object", name(), value.type_name()));
  if (depth > kDeepest) fail("tokenizer", fmt::format("{}: nested more than {} deep", name(), kDeepest));
}

std::string Part::name(const std::string& key) const {
  std::string full = path_;
  if (!key.empty()) full += full.empty() ? key : "." + key;
  return fmt::format("{} ({})", full, file_);
}

void Part::reject(std::string_view what) const {
  fail("tokenizer", fmt::format("{}: {}", name(), what));
}

void Part::unknown_type(std::string_view kinds) const {
  fail("tokenizer", fmt::format("{}: got \"{}\", expected one of {}", name("type"), type(), kinds),
       "this kind of tokenizer is not supported; the family of byte-level and Metaspace BPE is");
}

void Part::mistyped(const std::string& key, std::string_view expected) const {
  const nlohmann::json* found = member(key);
  std::string got = found == nullptr ? "nothing" : found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (got.size() > 60) got = got.substr(0, 57) + "...";
  fail("tokenizer", fmt::format("{}: got {}, expected {}", name(key), got, expected));
}

const nlohmann::json* Part::member(const std::string& key) const {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

bool Part::has(const std::string& key) const {
  return member(key) != nullptr;
}

std::string Part::type() const {
  return text("type");
}

std::string Part::text(const std::string& key) const {
  const nlohmann::json* found = member(key);
  if (found == nullptr || !found->is_string()) mistyped(key, "a string");
  return found->get<std::string>();
}

std::string Part::text_or(const std::string& key, std::string_view otherwise) const {
  return has(key) ? text(key) : std::string(otherwise);
}

bool Part::flag_or(const std::string& key, bool otherwise) const {
  const nlohmann::json* found = member(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) mistyped(key, "true or false");
  return found->get<bool>();
}

int64_t Part::integer(const std::string& key) const {
  const nlohmann::json* found = member(key);
  if (found == nullptr || !found->is_number_integer()) mistyped(key, "an integer");
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    mistyped(key, "a smaller integer");
  }
  return found->get<int64_t>();
}

std::vector<Part> Part::list(const std::string& key) const {
  const nlohmann::json* found = member(key);
  if (found == nullptr || !found->is_array()) mistyped(key, "an array");
  std::vector<Part> parts;
  parts.reserve(found->size());
  const std::string prefix = path_.empty() ? key : path_ + "." + key;
  for (size_t i = 0; i < found->size(); ++i) {
    parts.emplace_back((*found)[i], fmt::format("{}[{}]", prefix, i), file_, depth_ + 1);
  }
  return parts;
}

std::optional<Part> Part::object(const std::string& key) const {
  const nlohmann::json* found = member(key);
  if (found == nullptr) return std::nullopt;
  return Part(*found, path_.empty() ? key : path_ + "." + key, file_, depth_ + 1);
}

Pattern Part::pattern() const {
  const nlohmann::json* found = member("pattern");
  if (found != nullptr && found->is_object()) {
    const Part inner(*found, path_ + ".pattern", file_, depth_ + 1);
    if (inner.has("Regex")) return Pattern::regex(inner.text("Regex"), inner.name("Regex"));
    if (inner.has("String")) return Pattern::literal(inner.text("String"));
  }
  mistyped("pattern", "{\"Regex\": ...} or {\"String\": ...}");
}

}  // namespace introspect::text
