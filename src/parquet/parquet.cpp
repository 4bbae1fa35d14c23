#include "parquet/parquet.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "parquet/column.h"

#include <algorithm>
#include <set>

#include <fmt/ranges.h>

namespace introspect {

using parquet::Column;
using parquet::Repetition;
using parquet::SchemaNode;

namespace {

// A LIST is a group of one repeated group of one element; older writers leave the inner group out.
const SchemaNode* list_element(const SchemaNode& node) {
  if (!node.list || node.children.size() != 1 || node.children[0].repetition != Repetition::repeated) return nullptr;
  const SchemaNode& repeated = node.children[0];
  const bool inner = repeated.children.size() == 1 && repeated.name != "array" && repeated.name != node.name + "_tuple";
  return inner ? &repeated.children[0] : &repeated;
}

std::string type_text(const SchemaNode& node);
std::string plain_type(const SchemaNode& node) {
  if (const SchemaNode* element = list_element(node)) {
    const bool itself = element == &node.children[0];
    return fmt::format("list<{}>", itself ? plain_type(*element) : type_text(*element));
  }
  if (node.leaf >= 0) {
    if (node.type == parquet::Physical::bytes) return node.text ? "text" : "bytes";
    return (node.is_unsigned ? "u" : "") + parquet::physical_name(node.type);
  }
  std::vector<std::string> fields;
  for (const SchemaNode& child : node.children) fields.push_back(fmt::format("{}: {}", child.name, type_text(child)));
  return fmt::format("struct<{}>", fmt::join(fields, ", "));
}
std::string type_text(const SchemaNode& node) {
  if (node.repetition == Repetition::repeated) return fmt::format("list<{}>", plain_type(node));
  return plain_type(node) + (node.repetition == Repetition::optional ? "?" : "");
}

// Puts rows together from the levels of their columns (Melnik et al., "Dremel", 2010).
class RowReader {
 public:
  RowReader(std::vector<std::unique_ptr<Column>>& columns, const std::string& label)
      : columns_(columns), label_(label) {}

  Json row_value(const SchemaNode& node) {
    check_agreement(
        leaves_of(node), [](Column& column) { return column.repetition() == 0; }, true, node);
    return value(node);
  }

 private:
  const std::vector<Column*>& leaves_of(const SchemaNode& node) {
    std::vector<Column*>& leaves = leaves_[&node];
    if (leaves.empty()) collect(node, leaves);
    return leaves;
  }
  void collect(const SchemaNode& node, std::vector<Column*>& leaves) {
    if (node.leaf >= 0) leaves.push_back(columns_[static_cast<size_t>(node.leaf)].get());
    for (const SchemaNode& child : node.children) collect(child, leaves);
  }

  // Columns of one struct or list must say the same of it.
  template <class Test>
  void check_agreement(const std::vector<Column*>& leaves, const Test& test, bool expected, const SchemaNode& node) {
    for (Column* leaf : leaves) {
      if (test(*leaf) != expected) {
        parquet::refuse(fmt::format("the columns of '{}' disagree on where it begins, ends or is null", node.name),
                        label_);
      }
    }
  }

  // Whether the node is there; if not, every column's entry that says so is taken.
  bool present(const SchemaNode& node) {
    const std::vector<Column*>& leaves = leaves_of(node);
    const auto there = [&](Column& column) { return column.definition() >= node.definition; };
    const bool is = there(*leaves.front());
    check_agreement(leaves, there, is, node);
    if (!is) {
      for (Column* leaf : leaves) leaf->take();
    }
    return is;
  }

  Json value(const SchemaNode& node) {
    if (node.repetition == Repetition::repeated) return repeated(node, &node);
    if (node.repetition == Repetition::optional && node.leaf < 0 && !present(node)) return nullptr;
    return content(node);
  }

  Json content(const SchemaNode& node) {
    if (node.leaf >= 0) return columns_[static_cast<size_t>(node.leaf)]->take();
    if (const SchemaNode* element = list_element(node)) return repeated(node.children[0], element);
    Json object = Json::object();
    for (const SchemaNode& child : node.children) object[child.name] = value(child);
    return object;
  }

  Json repeated(const SchemaNode& node, const SchemaNode* element) {
    Json list = Json::array();
    if (!present(node)) return list;
    const std::vector<Column*>& leaves = leaves_of(node);
    const auto goes_on = [&](Column& column) { return !column.at_end() && column.repetition() == node.repeats; };
    for (bool more = true; more;) {
      list.push_back(element == &node ? content(node) : value(*element));
      more = goes_on(*leaves.front());
      check_agreement(leaves, goes_on, more, node);
    }
    return list;
  }

  std::vector<std::unique_ptr<Column>>& columns_;
  const std::string& label_;
  std::map<const SchemaNode*, std::vector<Column*>> leaves_;
};

void collect_numbers(const SchemaNode& node, std::vector<size_t>& numbers) {
  if (node.leaf >= 0) numbers.push_back(static_cast<size_t>(node.leaf));
  for (const SchemaNode& child : node.children) collect_numbers(child, numbers);
}

}  // namespace

struct Parquet::File {
  fs::path path;
  std::string label;
  MappedFile mapped;
  std::string_view bytes = mapped.bytes();
  parquet::FileMetadata metadata;
  std::vector<ParquetColumn> columns;

  explicit File(const fs::path& file) : path(file), label(file.string()), mapped(file, "parquet") {
    parquet::read_metadata(bytes, label, metadata);
    describe();
  }

 private:
  void describe() {
    for (const SchemaNode& node : metadata.root.children) {
      ParquetColumn column{node.name, type_text(node), "", {}, 0};
      std::vector<size_t> leaves;
      collect_numbers(node, leaves);
      std::set<std::string> encodings;
      for (const parquet::RowGroup& group : metadata.groups) {
        for (const size_t leaf : leaves) {
          column.bytes += group.columns[leaf].bytes;
          if (column.codec.empty()) column.codec = parquet::codec_name(group.columns[leaf].codec);
          for (const int64_t encoding : group.columns[leaf].encodings)
            encodings.insert(parquet::encoding_name(encoding));
        }
      }
      column.encodings.assign(encodings.begin(), encodings.end());
      columns.push_back(std::move(column));
    }
  }
};

Parquet::Parquet(const fs::path& path) : file_(std::make_shared<const File>(path)) {}

const fs::path& Parquet::path() const {
  return file_->path;
}
int64_t Parquet::rows() const {
  return file_->metadata.rows;
}
int64_t Parquet::row_groups() const {
  return std::ssize(file_->metadata.groups);
}
const std::string& Parquet::created_by() const {
  return file_->metadata.created_by;
}
const std::map<std::string, std::string>& Parquet::metadata() const {
  return file_->metadata.key_values;
}
const std::vector<ParquetColumn>& Parquet::columns() const {
  return file_->columns;
}
bool Parquet::contains(const std::string& column) const {
  return std::any_of(columns().begin(), columns().end(),
                     [&](const ParquetColumn& each) { return each.name == column; });
}

void Parquet::for_each_row(const std::vector<std::string>& wanted,
                           const std::function<bool(int64_t row, const Json& values)>& visit) const {
  const File& file = *file_;
  std::vector<const SchemaNode*> nodes;
  for (const SchemaNode& node : file.metadata.root.children) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), node.name) != wanted.end()) nodes.push_back(&node);
  }
  for (const std::string& name : wanted) {
    if (contains(name)) continue;
    std::vector<std::string> names;
    for (const ParquetColumn& each : columns()) names.push_back(each.name);
    fail("parquet", fmt::format("no column '{}', got {} ({})", name, fmt::join(names, ", "), file.label));
  }
  int64_t row = 0;
  for (const parquet::RowGroup& group : file.metadata.groups) {
    std::vector<std::unique_ptr<Column>> columns(file.metadata.leaves.size());
    std::vector<size_t> numbers;
    for (const SchemaNode* node : nodes) collect_numbers(*node, numbers);
    for (const size_t number : numbers) {
      columns[number] =
          std::make_unique<Column>(file.bytes, *file.metadata.leaves[number], group.columns[number], file.label);
    }
    RowReader reader(columns, file.label);
    for (int64_t i = 0; i < group.rows; ++i) {
      Json values = Json::object();
      for (const SchemaNode* node : nodes) values[node->name] = reader.row_value(*node);
      if (!visit(row++, values)) return;
    }
    for (const size_t number : numbers) {
      if (!columns[number]->at_end()) {
        parquet::refuse(fmt::format("column '{}' has more values than its rows", group.columns[number].path),
                        file.label);
      }
    }
  }
}

}  // namespace introspect
