// Values of templates, with the behaviour of Python's: what chat templates were written for.
#pragma once

#include "base/json.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace introspect::jinja {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in the order of insertion
struct Arguments;
using Function = std::function<Value(const Arguments&)>;

struct Undefined {
  std::string what;  // "'x'": for the message when it is used
};
struct None {};

class Value {
 public:
  struct Namespace {
    std::vector<std::pair<std::string, Value>> names;
  };
  Value();
  ~Value();  // these in value.cpp: inlined everywhere they cost time and false warnings
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  Value(Undefined undefined) : held_(std::move(undefined)) {}
  Value(None) : held_(None{}) {}
  Value(bool flag) : held_(flag) {}
  Value(int64_t number) : held_(number) {}
  Value(int number) : held_(int64_t{number}) {}
  Value(double number) : held_(number) {}
  Value(std::string text) : held_(std::move(text)) {}
  Value(const char* text) : held_(std::string(text)) {}
  Value(Function function) : held_(std::make_shared<Function>(std::move(function))) {}
  Value(std::shared_ptr<Namespace> space) : held_(std::move(space)) {}
  static Value list(List items);
  static Value tuple(List items);  // a list that prints as (a, b)
  static Value dict(Dict entries);
  static Value from_json(const Json& json);

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const { return holds<int64_t>(); }
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }
  bool is_string() const { return holds<std::string>(); }
  bool is_list() const { return holds<std::shared_ptr<const ListHeld>>(); }
  bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }
  bool is_namespace() const { return holds<std::shared_ptr<Namespace>>(); }
  bool is_function() const { return holds<std::shared_ptr<Function>>(); }
  bool is_iterable() const { return is_string() || is_list() || is_dict() || is_undefined(); }

  // The caller has asked for the kind before.
  const std::string& text() const { return std::get<std::string>(held_); }
  const List& items() const { return std::get<std::shared_ptr<const ListHeld>>(held_)->items; }
  const Dict& entries() const { return *std::get<std::shared_ptr<const Dict>>(held_); }
  Namespace& space() const { return *std::get<std::shared_ptr<Namespace>>(held_); }
  const Function& function() const { return *std::get<std::shared_ptr<Function>>(held_); }
  const std::string& undefined_name() const { return std::get<Undefined>(held_).what; }
  int64_t integer() const;  // of a bool or an int; throws Raised for others, as real() does
  double real() const;      // of any number

  bool truth() const;
  std::string kind() const;  // Python's name of its type: "str", "list", ...
  std::string str() const;   // as a template prints it
  std::string repr() const;  // as it stands inside a printed list
  // Strings by character, the items of a list, the keys of a dict, nothing of an undefined value. Throws Raised.
  List iterate() const;
  int64_t length() const;

  bool operator==(const Value& other) const;

 private:
  struct ListHeld {
    List items;
    bool tuple = false;
  };
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(held_);
  }
  std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<const ListHeld>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<Function>>
      held_;
};

// -1, 0, 1 for numbers, strings and lists; throws Raised for kinds that Python does not compare.
int compare(const Value& a, const Value& b);
const Value* find(const Dict& dict, const Value& key);
// json.dumps(value, ensure_ascii=False); indent < 0: on one line.
std::string to_json(const Value& value, int indent = -1, bool sort_keys = false);

struct Arguments {
  List values;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `place`, or called `name`, or `otherwise`.
  Value get(size_t place, const std::string& name, Value otherwise = {}) const;
};

// What goes wrong inside a template; Template (template.h) makes an Error of it that says where.
struct Raised : std::runtime_error {
  using std::runtime_error::runtime_error;
  std::string hint;
};
[[noreturn]] void raise(const std::string& what, const std::string& hint = "");

}  // namespace introspect::jinja
