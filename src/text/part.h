// A part of tokenizer.json with the path by which errors name it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace introspect::text {

class Pattern;

// A view of one JSON object: "pre_tokenizer.pretokenizers[0]" of some file. The JSON must outlive it.
class Part {
 public:
  Part(const nlohmann::json& value, std::string path, std::string file, int depth = 0);

  std::string type() const;  // the member "type"
  bool has(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::string text_or(const std::string& key, std::string_view otherwise) const;
  bool flag_or(const std::string& key, bool otherwise) const;
  int64_t integer(const std::string& key) const;
  std::vector<Part> list(const std::string& key) const;  // an array of objects
  std::optional<Part> object(const std::string& key) const;
  // The member "pattern": {"String": ...} or {"Regex": ...}.
  Pattern pattern() const;

  const nlohmann::json& json() const { return *value_; }
  // "pre_tokenizer.behavior (/models/x/tokenizer.json)"
  std::string name(const std::string& key = "") const;
  [[noreturn]] void reject(std::string_view what) const;  // "<name>: <what> (file)"
  [[noreturn]] void unknown_type(std::string_view kinds) const;

 private:
  const nlohmann::json* member(const std::string& key) const;
  [[noreturn]] void mistyped(const std::string& key, std::string_view expected) const;
  const nlohmann::json* value_;
  std::string path_, file_;
  int depth_;
};

}  // namespace introspect::text
