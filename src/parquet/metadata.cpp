#include "parquet/metadata.h"

#include "base/error.h"
#include "parquet/thrift.h"

#include <algorithm>
#include <cstring>

namespace introspect::parquet {

void refuse(const std::string& message, const std::string& label) {
  fail("parquet", fmt::format("{} ({})", message, label),
       "the file may be cut short: compare its size with the original");
}

namespace {

constexpr std::string_view kMagic = "PAR1";
constexpr int64_t kMostElements = 100'000;
constexpr int kDeepest = 24;

template <size_t N>
std::string name_in(const char* const (&names)[N], int64_t index, const char* what) {
  return index >= 0 && index < static_cast<int64_t>(N) ? names[index] : fmt::format("{} {}", what, index);
}

// A schema element as it stands in the footer: the tree is written with each group in front of its children.
struct Element {
  SchemaNode node;
  int64_t children = 0, type = -1, repetition = 0;
  bool has_repetition = false;
};

void read_logical_type(Thrift& thrift, SchemaNode& node) {
  thrift.structure([&](int id) {
    if (id == 1) node.text = true;
    if (id == 3) node.list = true;
    if (id == 10) {
      thrift.structure([&](int field) {
        if (field == 2) node.is_unsigned = !thrift.boolean();
      });
    }
  });
}

Element read_element(Thrift& thrift) {
  Element element;
  SchemaNode& node = element.node;
  thrift.structure([&](int id) {
    switch (id) {
      case 1:
        element.type = thrift.integer();
        break;
      case 3:
        element.repetition = thrift.integer();
        element.has_repetition = true;
        break;
      case 4:
        node.name = thrift.text();
        break;
      case 5:
        element.children = thrift.integer();
        break;
      case 6: {
        const int64_t converted = thrift.integer();  // the older way to say what field 10 says
        node.text = node.text || converted == 0;
        node.list = node.list || converted == 3;
        node.is_unsigned = node.is_unsigned || (converted >= 11 && converted <= 14);
        break;
      }
      case 10:
        read_logical_type(thrift, node);
        break;
      default:
        break;
    }
  });
  return element;
}

class SchemaReader {
 public:
  SchemaReader(std::vector<Element>& elements, const std::string& label) : elements_(elements), label_(label) {}

  SchemaNode read() {
    if (elements_.empty()) refuse("the footer has no schema", label_);
    elements_.front().node.repetition = Repetition::required;
    SchemaNode root = next(0, 0, 0);
    if (at_ != elements_.size()) refuse("the schema has columns outside its root", label_);
    if (root.children.empty()) refuse("the schema has no columns", label_);
    return root;
  }

 private:
  SchemaNode next(int depth, int definition, int repeats) {
    if (depth > kDeepest) refuse(fmt::format("a schema nested deeper than {}", kDeepest), label_);
    if (at_ == elements_.size()) refuse("the schema ends within a group", label_);
    Element& element = elements_[at_++];
    SchemaNode node = std::move(element.node);
    if (depth > 0) {
      if (element.repetition < 0 || element.repetition > 2) {
        refuse(fmt::format("column '{}': repetition {}, expected 0, 1 or 2", node.name, element.repetition), label_);
      }
      node.repetition = static_cast<Repetition>(element.repetition);
    }
    node.definition = definition + (node.repetition != Repetition::required);
    node.repeats = repeats + (node.repetition == Repetition::repeated);
    if (element.children < 0 || element.children > kMostElements)
      refuse("a group with a broken number of columns", label_);
    if (element.children == 0) {
      if (element.type < 0 || element.type > 7) {
        if (depth == 0) return node;
        refuse(fmt::format("column '{}': physical type {}, expected 0 to 7", node.name, element.type), label_);
      }
      node.type = static_cast<Physical>(element.type);
      node.leaf = leaves_++;
    }
    for (int64_t i = 0; i < element.children; ++i) {
      node.children.push_back(next(depth + 1, node.definition, node.repeats));
    }
    return node;
  }

  std::vector<Element>& elements_;
  const std::string& label_;
  size_t at_ = 0;
  int64_t leaves_ = 0;
};

void collect_leaves(const SchemaNode& node, std::vector<const SchemaNode*>& leaves) {
  if (node.leaf >= 0) leaves.push_back(&node);
  for (const SchemaNode& child : node.children) collect_leaves(child, leaves);
}

ColumnChunk read_chunk(Thrift& thrift, const std::string& label) {
  ColumnChunk chunk;
  int64_t dictionary = -1, data = -1;
  bool has_metadata = false;
  thrift.structure([&](int id) {
    if (id == 1) refuse("a column that lies in another file", label);
    if (id == 8 || id == 9) refuse("an encrypted column", label);
    if (id != 3) return;
    has_metadata = true;
    thrift.structure([&](int field) {
      switch (field) {
        case 1:
          chunk.type = thrift.integer();
          break;
        case 2:
          thrift.list([&] { chunk.encodings.push_back(thrift.integer()); });
          break;
        case 3:
          thrift.list([&] { chunk.path += (chunk.path.empty() ? "" : ".") + std::string(thrift.text()); });
          break;
        case 4:
          chunk.codec = thrift.integer();
          break;
        case 5:
          chunk.values = thrift.integer();
          break;
        case 7:
          chunk.bytes = thrift.integer();
          break;
        case 9:
          data = thrift.integer();
          break;
        case 11:
          dictionary = thrift.integer();
          break;
        default:
          break;
      }
    });
  });
  if (!has_metadata) refuse("a column without its metadata", label);
  chunk.begin = dictionary > 0 && dictionary < data ? dictionary : data;  // some writers say 0 for none
  return chunk;
}

void check_groups(const FileMetadata& metadata, uint64_t file_bytes, const std::string& label) {
  int64_t rows = 0;
  for (const RowGroup& group : metadata.groups) {
    if (group.rows < 0 || group.rows > metadata.rows - rows) refuse("row groups with more rows than the file", label);
    rows += group.rows;
    if (group.columns.size() != metadata.leaves.size()) {
      refuse(fmt::format("a row group of {} columns, the schema has {}", group.columns.size(), metadata.leaves.size()),
             label);
    }
    for (size_t i = 0; i < group.columns.size(); ++i) {
      const ColumnChunk& chunk = group.columns[i];
      if (chunk.type != static_cast<int64_t>(metadata.leaves[i]->type)) {
        refuse(fmt::format("column '{}' has another type than the schema says", chunk.path), label);
      }
      const auto size = static_cast<int64_t>(file_bytes);
      if (chunk.values < 0 || chunk.begin < 4 || chunk.bytes < 0 || chunk.begin > size ||
          chunk.bytes > size - chunk.begin) {
        refuse(fmt::format("column '{}' lies outside the file: {} bytes from byte {}, the file has {}", chunk.path,
                           chunk.bytes, chunk.begin, size),
               label);
      }
    }
  }
  if (rows != metadata.rows) {
    refuse(fmt::format("the row groups have {} rows, the footer says {}", rows, metadata.rows), label);
  }
}

}  // namespace

std::string physical_name(Physical type) {
  static constexpr const char* names[] = {"bool", "int32", "int64", "int96", "float", "double", "bytes", "fixed_bytes"};
  return names[static_cast<size_t>(type)];
}
std::string codec_name(int64_t codec) {
  static constexpr const char* names[] = {"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"};
  return name_in(names, codec, "codec");
}
std::string encoding_name(int64_t encoding) {
  static constexpr const char* names[] = {
      "PLAIN",          "encoding 1",          "PLAIN_DICTIONARY",        "RLE",
      "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
      "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"};
  return name_in(names, encoding, "encoding");
}

void read_metadata(std::string_view file, const std::string& label, FileMetadata& metadata) {
  if (file.size() >= 12 && file.ends_with("PARE")) refuse("an encrypted Parquet file", label);
  if (file.size() < 12 || !file.starts_with(kMagic) || !file.ends_with(kMagic)) {
    refuse(fmt::format("no Parquet file: got {} bytes that do not begin and end in PAR1", file.size()), label);
  }
  uint32_t length = 0;
  std::memcpy(&length, file.data() + file.size() - 8, sizeof length);
  if (length > file.size() - 12)
    refuse(fmt::format("a footer of {} bytes in a file of {}", length, file.size()), label);
  Thrift thrift(file.substr(file.size() - 8 - length, length), label);
  std::vector<Element> elements;
  thrift.structure([&](int id) {
    switch (id) {
      case 2:
        thrift.list([&] { elements.push_back(read_element(thrift)); });
        break;
      case 3:
        metadata.rows = thrift.integer();
        break;
      case 4:
        thrift.list([&] {
          RowGroup group;
          thrift.structure([&](int field) {
            if (field == 1) thrift.list([&] { group.columns.push_back(read_chunk(thrift, label)); });
            if (field == 3) group.rows = thrift.integer();
          });
          metadata.groups.push_back(std::move(group));
        });
        break;
      case 5:
        thrift.list([&] {
          std::string key, value;
          thrift.structure([&](int field) {
            if (field == 1) key = thrift.text();
            if (field == 2) value = thrift.text();
          });
          metadata.key_values[key] = value;
        });
        break;
      case 6:
        metadata.created_by = thrift.text();
        break;
      case 8:
        refuse("an encrypted Parquet file", label);
      default:
        break;
    }
  });
  metadata.root = SchemaReader(elements, label).read();
  collect_leaves(metadata.root, metadata.leaves);
  if (metadata.rows < 0) refuse("a negative number of rows", label);
  check_groups(metadata, file.size(), label);
}

PageHeader read_page_header(std::string_view bytes, const std::string& label) {
  PageHeader header;
  Thrift thrift(bytes, label);
  bool has_body = false;
  thrift.structure([&](int id) {
    switch (id) {
      case 1:
        header.kind = thrift.integer();
        break;
      case 2:
        header.bytes = thrift.integer();
        break;
      case 3:
        header.stored_bytes = thrift.integer();
        break;
      case 4:
        header.crc = static_cast<uint32_t>(thrift.integer());
        break;
      case 5:
      case 7:
        has_body = true;
        thrift.structure([&](int field) {
          if (field == 1) header.values = thrift.integer();
          if (field == 2) header.encoding = thrift.integer();
          if (id == 5 && field == 3) header.definition_encoding = thrift.integer();
          if (id == 5 && field == 4) header.repetition_encoding = thrift.integer();
        });
        break;
      case 8:
        has_body = true;
        thrift.structure([&](int field) {
          if (field == 1) header.values = thrift.integer();
          if (field == 4) header.encoding = thrift.integer();
          if (field == 5) header.definition_bytes = thrift.integer();
          if (field == 6) header.repetition_bytes = thrift.integer();
          if (field == 7) header.compressed = thrift.boolean();
        });
        break;
      default:
        break;
    }
  });
  header.header_bytes = thrift.at();
  if (header.kind < 0 || header.bytes < 0 || header.stored_bytes < 0 ||
      (!has_body && header.kind != PageHeader::index)) {
    refuse("a page header without its type, size or values", label);
  }
  return header;
}

}  // namespace introspect::parquet
