// The subset of Thrift's compact protocol that Parquet's footer and page headers are written in.
// Specification: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
#pragma once

#include "parquet/bytes.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace introspect::parquet {

// Reads structs field by field. What is not asked for is passed over. Throws Error for broken bytes, and for structs
// nested deeper than any writer makes them.
class Thrift {
 public:
  Thrift(std::string_view bytes, const std::string& label) : bytes_(bytes, label) {}

  // Calls visit(id) for each field of the struct that begins here. It reads the field with one of the functions below;
  // one that it does not read is passed over.
  void structure(const std::function<void(int id)>& visit);
  // Calls visit() for each element of the list that is the field at hand; visit reads the element.
  void list(const std::function<void()>& visit);
  int64_t integer();
  bool boolean();
  std::string_view text();

  size_t at() const { return bytes_.at(); }

 private:
  void skip();
  int expect(int type, const char* what);
  void enter();

  Bytes bytes_;
  int type_ = 0;          // of the value at hand; 0: it was read
  bool element_ = false;  // of a list: a boolean then has a byte of its own
  int depth_ = 0;
};

}  // namespace introspect::parquet
