// What a Parquet file says of itself: the footer, and the headers in front of pages.
// Specification: github.com/apache/parquet-format, README.md and src/main/thrift/parquet.thrift.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::parquet {

enum class Physical { boolean, int32, int64, int96, float32, float64, bytes, fixed_bytes };
enum class Repetition { required, optional, repeated };
enum class Encoding {
  plain = 0,
  plain_dictionary = 2,
  rle = 3,
  bit_packed = 4,
  delta_binary_packed = 5,
  delta_length_byte_array = 6,
  delta_byte_array = 7,
  rle_dictionary = 8
};
enum class Codec { uncompressed = 0, snappy = 1, gzip = 2, lzo = 3, brotli = 4, lz4 = 5, zstd = 6, lz4_raw = 7 };
std::string physical_name(Physical type);
std::string codec_name(int64_t codec);
std::string encoding_name(int64_t encoding);

// A column, or a struct or list of columns.
struct SchemaNode {
  std::string name;
  Repetition repetition = Repetition::required;
  Physical type = Physical::int32;  // of a leaf
  bool text = false;                // a leaf of bytes that are said to be UTF-8
  bool is_unsigned = false;         // an integer
  bool list = false;                // a group marked LIST
  int definition = 0, repeats = 0;  // levels of a value that is there
  int64_t leaf = -1;                // number of the column; -1: a group
  std::vector<SchemaNode> children;
};

struct ColumnChunk {
  int64_t type = 0, codec = 0, values = 0, bytes = 0;  // bytes: of all pages as stored, with their headers
  int64_t begin = 0;                                   // of the first page
  std::vector<int64_t> encodings;
  std::string path;
};
struct RowGroup {
  int64_t rows = 0;
  std::vector<ColumnChunk> columns;  // one a leaf, in the order of the schema
};

struct FileMetadata {
  SchemaNode root;
  std::vector<const SchemaNode*> leaves;
  int64_t rows = 0;
  std::vector<RowGroup> groups;
  std::map<std::string, std::string> key_values;
  std::string created_by;

  FileMetadata() = default;
  FileMetadata(const FileMetadata&) = delete;  // leaves point into root
  FileMetadata& operator=(const FileMetadata&) = delete;
};
// `file`: the whole file. Throws Error for what is no Parquet file, an encrypted one, a schema that is no tree, and row
// groups that disagree with it or lie outside the file.
void read_metadata(std::string_view file, const std::string& label, FileMetadata& metadata);

struct PageHeader {
  enum Kind { data = 0, index = 1, dictionary = 2, data_v2 = 3 };
  int64_t kind = -1, bytes = -1, stored_bytes = -1;  // bytes: without the codec
  int64_t crc = -1;                                  // CRC-32 of the stored bytes; -1: none
  int64_t values = 0, encoding = 0, definition_encoding = 3, repetition_encoding = 3;
  int64_t definition_bytes = 0, repetition_bytes = 0;  // version 2
  bool compressed = true;                              // version 2
  size_t header_bytes = 0;
};
PageHeader read_page_header(std::string_view bytes, const std::string& label);

}  // namespace introspect::parquet
