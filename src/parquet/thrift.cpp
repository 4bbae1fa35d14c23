#include "parquet/thrift.h"

namespace introspect::parquet {

namespace {

enum Type {
  stop = 0,
  yes = 1,
  no = 2,
  i8 = 3,
  i16 = 4,
  i32 = 5,
  i64 = 6,
  real = 7,
  binary = 8,
  array = 9,
  set = 10,
  map = 11,
  object = 12
};
constexpr int kDeepest = 32;

}  // namespace

void Thrift::enter() {
  if (++depth_ > kDeepest) refuse(fmt::format("structs nested deeper than {}", kDeepest), bytes_.label());
}

int Thrift::expect(int type, const char* what) {
  const int got = type_;
  if (got != type && !(type == yes && got == no) && !(type == i64 && got >= i8 && got <= i64) &&
      !(type == array && got == set)) {
    refuse(fmt::format("got a field of Thrift type {}, expected {}", got, what), bytes_.label());
  }
  type_ = stop;
  return got;
}

void Thrift::structure(const std::function<void(int id)>& visit) {
  // the outermost struct has no type in front of it
  if (depth_ > 0) expect(object, "a struct");
  enter();
  for (int64_t id = 0;;) {
    const uint8_t head = bytes_.byte();
    if (head == stop) break;
    id = head >> 4 ? id + (head >> 4) : bytes_.zigzag();
    if (id < 0 || id > 32767) refuse(fmt::format("a field with the number {}", id), bytes_.label());
    type_ = head & 15;
    element_ = false;
    visit(static_cast<int>(id));
    if (type_ != stop) skip();
  }
  --depth_;
}

void Thrift::list(const std::function<void()>& visit) {
  expect(array, "a list");
  enter();
  const uint8_t head = bytes_.byte();
  const uint64_t count = head >> 4 == 15 ? bytes_.varint() : static_cast<uint64_t>(head >> 4);
  const int type = head & 15;
  // every element takes a byte at least
  if (count > bytes_.left())
    refuse(fmt::format("a list of {} elements in {} bytes", count, bytes_.left()), bytes_.label());
  for (uint64_t i = 0; i < count; ++i) {
    type_ = type;
    element_ = true;
    visit();
    if (type_ != stop) skip();
  }
  type_ = stop;
  --depth_;
}

int64_t Thrift::integer() {
  if (expect(i64, "an integer") == i8) return static_cast<int8_t>(bytes_.byte());
  return bytes_.zigzag();
}

bool Thrift::boolean() {
  const bool own_byte = element_;
  const int type = expect(yes, "a boolean");
  return own_byte ? bytes_.byte() == yes : type == yes;
}

std::string_view Thrift::text() {
  expect(binary, "text");
  return bytes_.take(bytes_.varint());
}

void Thrift::skip() {
  switch (type_) {
    case yes:
    case no:
      boolean();
      return;
    case i8:
    case i16:
    case i32:
    case i64:
      integer();
      return;
    case real:
      bytes_.take(8);
      break;
    case binary:
      text();
      return;
    case array:
    case set:
      list([] {});
      return;
    case map: {
      enter();
      const uint64_t count = bytes_.varint();
      if (count > bytes_.left())
        refuse(fmt::format("a map of {} entries in {} bytes", count, bytes_.left()), bytes_.label());
      const uint8_t types = count ? bytes_.byte() : 0;
      for (uint64_t i = 0; i < count; ++i) {
        for (const int type : {types >> 4, types & 15}) {
          type_ = type;
          element_ = true;
          skip();
        }
      }
      --depth_;
      break;
    }
    case object:
      structure([](int) {});
      return;
    default:
      refuse(fmt::format("an unknown Thrift type {}", type_), bytes_.label());
  }
  type_ = stop;
}

}  // namespace introspect::parquet
