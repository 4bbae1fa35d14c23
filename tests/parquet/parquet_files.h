// Parquet files written from rows of JSON: one row group, PLAIN, a page a column, no codec.
#pragma once

#include "base/json.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect::test {

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
inline std::string zigzag(int64_t value) {
  return varint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
}
template <class Number>
std::string raw_bytes(Number value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A struct of Thrift's compact protocol, field by field in rising order.
class ThriftStruct {
 public:
  ThriftStruct& integer(int id, int64_t value) { return field(id, 6, zigzag(value)); }
  ThriftStruct& i32(int id, int64_t value) { return field(id, 5, zigzag(value)); }
  ThriftStruct& text(int id, const std::string& value) { return field(id, 8, varint(value.size()) + value); }
  ThriftStruct& structure(int id, const ThriftStruct& value) { return field(id, 12, value.end()); }
  ThriftStruct& list(int id, int type, const std::vector<std::string>& elements) {
    std::string bytes(1, static_cast<char>(0xf0 | type));
    bytes += varint(elements.size());
    for (const std::string& each : elements) bytes += each;
    return field(id, 9, bytes);
  }
  std::string end() const { return bytes_ + '\0'; }

 private:
  ThriftStruct& field(int id, int type, const std::string& bytes) {
    bytes_ += static_cast<char>((id - last_) << 4 | type);
    bytes_ += bytes;
    last_ = id;
    return *this;
  }
  std::string bytes_;
  int last_ = 0;
};

// What a column is: "bool", "int32", "int64", "float", "double", "text", "list" (of its one child) or "struct". All
// may be null.
struct Field {
  std::string name, kind;
  std::vector<Field> children = {};
};

// What a leaf is written from.
struct LeafPages {
  std::vector<std::string> path;
  int type = 0, definition = 0, repeats = 0;
  std::string repetitions, definitions, values;
  uint64_t entries = 0;
};

class ParquetWriter {
 public:
  explicit ParquetWriter(const std::vector<Field>& fields) : fields_(fields) {
    elements_.push_back(ThriftStruct().text(4, "schema").i32(5, static_cast<int64_t>(fields.size())).end());
    for (const Field& field : fields) describe(field, {}, 0, 0);
  }

  std::string file(const std::vector<Json>& rows) {
    for (const Json& row : rows) {
      size_t leaf = 0;
      for (const Field& field : fields_) {
        shred(field, row.contains(field.name) ? row.at(field.name) : Json(), 0, 0, 0, leaf);
      }
    }
    std::string bytes = "PAR1";
    std::vector<std::string> chunks;
    for (const LeafPages& leaf : leaves_) {
      std::string page;
      if (leaf.repeats > 0) page += raw_bytes(static_cast<uint32_t>(leaf.repetitions.size())) + leaf.repetitions;
      page += raw_bytes(static_cast<uint32_t>(leaf.definitions.size())) + leaf.definitions + leaf.values;
      const auto size = static_cast<int64_t>(page.size()), entries = static_cast<int64_t>(leaf.entries);
      const std::string header = ThriftStruct()
                                     .i32(1, 0)
                                     .i32(2, size)
                                     .i32(3, size)
                                     .structure(5, ThriftStruct().i32(1, entries).i32(2, 0).i32(3, 3).i32(4, 3))
                                     .end();
      std::vector<std::string> path;
      for (const std::string& part : leaf.path) path.push_back(varint(part.size()) + part);
      const auto stored = static_cast<int64_t>(header.size()) + size, begin = static_cast<int64_t>(bytes.size());
      chunks.push_back(ThriftStruct()
                           .integer(2, begin)
                           .structure(3, ThriftStruct()
                                             .i32(1, leaf.type)
                                             .list(2, 5, {zigzag(0), zigzag(3)})
                                             .list(3, 8, path)
                                             .i32(4, 0)
                                             .integer(5, entries)
                                             .integer(6, stored)
                                             .integer(7, stored)
                                             .integer(9, begin))
                           .end());
      bytes += header + page;
    }
    const auto count = static_cast<int64_t>(rows.size());
    const std::string footer =
        ThriftStruct()
            .i32(1, 1)
            .list(2, 12, elements_)
            .integer(3, count)
            .list(4, 12, {ThriftStruct().list(1, 12, chunks).integer(2, 0).integer(3, count).end()})
            .text(6, "a test")
            .end();
    return bytes + footer + raw_bytes(static_cast<uint32_t>(footer.size())) + "PAR1";
  }

 private:
  void describe(const Field& field, std::vector<std::string> path, int definition, int repeats) {
    path.push_back(field.name);
    ++definition;
    if (field.kind == "list") {
      elements_.push_back(ThriftStruct().i32(3, 1).text(4, field.name).i32(5, 1).i32(6, 3).end());
      elements_.push_back(ThriftStruct().i32(3, 2).text(4, "list").i32(5, 1).end());
      path.push_back("list");
      describe(field.children.at(0), path, definition + 1, repeats + 1);
    } else if (field.kind == "struct") {
      elements_.push_back(
          ThriftStruct().i32(3, 1).text(4, field.name).i32(5, static_cast<int64_t>(field.children.size())).end());
      for (const Field& child : field.children) describe(child, path, definition, repeats);
    } else {
      static const std::vector<std::string> kinds = {"bool", "int32", "int64", "-", "float", "double", "text"};
      const auto type = static_cast<int>(std::find(kinds.begin(), kinds.end(), field.kind) - kinds.begin());
      ThriftStruct element;
      element.i32(1, type).i32(3, 1).text(4, field.name);
      if (field.kind == "text") element.i32(6, 0);
      elements_.push_back(element.end());
      leaves_.push_back({path, type, definition, repeats, "", "", "", 0});
    }
  }

  // Runs of one level each: a number of equal ones, shifted, and the level.
  static void add_level(std::string& levels, int level) {
    levels += '\2';
    levels += static_cast<char>(level);
  }
  void entry(size_t leaf, int repetition, int definition) {
    add_level(leaves_[leaf].repetitions, repetition);
    add_level(leaves_[leaf].definitions, definition);
    ++leaves_[leaf].entries;
  }
  void absent(const Field& field, int repetition, int definition, size_t& leaf) {
    if (field.children.empty()) return entry(leaf++, repetition, definition);
    for (const Field& child : field.children) absent(child, repetition, definition, leaf);
  }

  // `definition`: how much of the path to the field is there; `repeats`: lists around it.
  void shred(const Field& field, const Json& value, int repetition, int definition, int repeats, size_t& leaf) {
    if (value.is_null()) return absent(field, repetition, definition, leaf);
    ++definition;
    if (field.kind == "struct") {
      for (const Field& child : field.children) {
        shred(child, value.contains(child.name) ? value.at(child.name) : Json(), repetition, definition, repeats, leaf);
      }
    } else if (field.kind == "list") {
      if (value.empty()) return absent(field.children[0], repetition, definition, leaf);
      const size_t first = leaf;
      for (size_t i = 0; i < value.size(); ++i) {
        leaf = first;
        shred(field.children[0], value[i], i == 0 ? repetition : repeats + 1, definition + 1, repeats + 1, leaf);
      }
    } else {
      std::string& bytes = leaves_[leaf].values;
      if (field.kind == "text") {
        const auto text = value.get<std::string>();
        bytes += raw_bytes(static_cast<uint32_t>(text.size())) + text;
      } else if (field.kind == "float") {
        bytes += raw_bytes(value.get<float>());
      } else if (field.kind == "double") {
        bytes += raw_bytes(value.get<double>());
      } else if (field.kind == "int32") {
        bytes += raw_bytes(value.get<int32_t>());
      } else if (field.kind == "int64") {
        bytes += raw_bytes(value.get<int64_t>());
      } else {
        bits_.resize(leaves_.size());
        if (bits_[leaf]++ % 8 == 0) bytes += '\0';
        bytes.back() = static_cast<char>(bytes.back() | value.get<bool>() << ((bits_[leaf] - 1) % 8));
      }
      entry(leaf++, repetition, definition);
    }
  }

  std::vector<Field> fields_;
  std::vector<std::string> elements_;
  std::vector<LeafPages> leaves_;
  std::vector<int> bits_;  // booleans written, by leaf
};

inline std::string parquet_of(const std::vector<Field>& fields, const std::vector<Json>& rows) {
  return ParquetWriter(fields).file(rows);
}

}  // namespace introspect::test
