// Attributes, subscripts, slices and operators.
#include "jinja/builtins.h"
#include "jinja/strings.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

void refuse_undefined(const Value& value) {
  if (value.is_undefined()) raise(value.undefined_name() + " is undefined");
}

Value missing(const Value& value, const std::string& name) {
  return Undefined{fmt::format("'{} object' has no attribute '{}', which", value.kind(), name)};
}

Value entry(const Value& value, const std::string& name) {
  if (value.is_dict()) {
    if (const Value* found = find(value.entries(), name)) return *found;
  }
  return {};
}

Value from_characters(const List& items) {
  std::string text;
  for (const Value& each : items) text += each.text();
  return text;
}

Value repeated(const Value& value, int64_t times) {
  if (times > 0 && value.length() > (int64_t{1} << 24) / times) raise("a repetition of more than 16 million items");
  if (value.is_string()) {
    std::string text;
    for (int64_t i = 0; i < times; ++i) text += value.text();
    return text;
  }
  List items;
  for (int64_t i = 0; i < times; ++i) items.insert(items.end(), value.items().begin(), value.items().end());
  return Value::list(std::move(items));
}

// 'a %s b' % value: only %s, %d and %%, which templates use.
std::string formatted(const std::string& text, const Value& given) {
  const List values = given.kind() == "tuple" ? given.items() : List{given};
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const char sign = ++i < text.size() ? text[i] : '\0';
    if (sign == '%') {
      out += '%';
    } else if ((sign == 's' || sign == 'd') && used < values.size()) {
      out += values[used++].str();
    } else {
      raise(fmt::format("'%{}' in a format: only %s, %d and %% with as many values are supported", sign));
    }
  }
  if (used != values.size()) raise("not all arguments converted during string formatting");
  return out;
}

}  // namespace

Value attribute(const Value& value, const std::string& name) {
  refuse_undefined(value);
  if (value.is_namespace()) {
    for (const auto& [known, held] : value.space().names) {
      if (known == name) return held;
    }
    return missing(value, name);
  }
  if (Value method = method_of(value, name); !method.is_undefined()) return method;
  if (Value held = entry(value, name); !held.is_undefined()) return held;
  return missing(value, name);
}

Value subscript(const Value& value, const Value& key) {
  refuse_undefined(value);
  refuse_undefined(key);
  if ((value.is_list() || value.is_string()) && (key.is_int() || key.is_bool())) {
    const List items = value.iterate();
    const int64_t size = std::ssize(items), at = key.integer() < 0 ? key.integer() + size : key.integer();
    if (at >= 0 && at < size) return items[static_cast<size_t>(at)];
    return Undefined{fmt::format("item {} of a {} of {}, which", key.integer(), value.kind(), size)};
  }
  if (value.is_dict()) {
    if (const Value* found = find(value.entries(), key)) return *found;
  }
  if (key.is_string()) return attribute(value, key.text());
  return missing(value, key.str());
}

Value slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
  refuse_undefined(value);
  if (!value.is_list() && !value.is_string()) raise(fmt::format("a {} cannot be sliced", value.kind()));
  const List items = value.iterate();
  const int64_t size = std::ssize(items), by = step.is_int() ? step.integer() : 1;
  if (by == 0) raise("slice step cannot be zero");
  const auto bound = [&](const Value& given, int64_t otherwise) {
    if (given.is_undefined() || given.is_none()) return otherwise;
    if (!given.is_int() && !given.is_bool()) raise("slice indices must be integers");
    const int64_t at = given.integer() < 0 ? given.integer() + size : given.integer();
    return std::clamp<int64_t>(at, by > 0 ? 0 : -1, by > 0 ? size : size - 1);
  };
  List picked;
  const int64_t first = bound(start, by > 0 ? 0 : size - 1), last = bound(stop, by > 0 ? size : -1);
  for (int64_t at = first; by > 0 ? at < last : at > last; at += by) picked.push_back(items[static_cast<size_t>(at)]);
  return value.is_string() ? from_characters(picked) : Value::list(std::move(picked));
}

Value add(const Value& a, const Value& b) {
  refuse_undefined(a);
  refuse_undefined(b);
  if (a.is_string() && b.is_string()) return a.text() + b.text();
  if (a.is_list() && b.is_list() && a.kind() == b.kind()) {
    List items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.kind() == "tuple" ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  return arithmetic("+", a, b);
}

Value arithmetic(const std::string& sign, const Value& a, const Value& b) {
  refuse_undefined(a);
  refuse_undefined(b);
  if (sign == "%" && a.is_string()) return formatted(a.text(), b);
  const auto sequence = [](const Value& value) { return value.is_string() || value.is_list(); };
  if (sign == "*" && sequence(a) && b.is_int()) return repeated(a, b.integer());
  if (sign == "*" && sequence(b) && a.is_int()) return repeated(b, a.integer());
  if (!a.is_number() || !b.is_number()) {
    raise(fmt::format("unsupported operand types for {}: '{}' and '{}'", sign, a.kind(), b.kind()));
  }
  const double x = a.real(), y = b.real();
  if (y == 0 && (sign == "/" || sign == "//" || sign == "%")) raise("division by zero");
  if (sign == "/") return x / y;
  if (a.is_float() || b.is_float()) {
    if (sign == "+") return x + y;
    if (sign == "-") return x - y;
    if (sign == "*") return x * y;
    if (sign == "//") return std::floor(x / y);
    if (sign == "%") return x - std::floor(x / y) * y;
    return std::pow(x, y);
  }
  const int64_t m = a.integer(), n = b.integer();
  int64_t result = 0;
  bool overflow = false;
  if (sign == "+") overflow = __builtin_add_overflow(m, n, &result);
  if (sign == "-") overflow = __builtin_sub_overflow(m, n, &result);
  if (sign == "*") overflow = __builtin_mul_overflow(m, n, &result);
  if (sign == "//" || sign == "%") {
    if (n == -1) {
      overflow = __builtin_sub_overflow(int64_t{0}, m, &result);
      if (sign == "%") return 0;
    } else {
      const int64_t down = m / n - ((m % n != 0) && ((m < 0) != (n < 0)));
      result = sign == "//" ? down : m - down * n;
    }
  }
  if (sign == "**") {
    if (n < 0) return std::pow(x, y);
    // only the parity of n counts for -1, 0 and 1; any other base leaves 64 bits within 63 steps
    result = 1;
    const int64_t steps = m >= -1 && m <= 1 ? n % 2 + (n > 0 ? 2 : 0) : n;
    for (int64_t i = 0; i < steps && !overflow; ++i) overflow = __builtin_mul_overflow(result, m, &result);
  }
  if (overflow) raise("a number beyond 64 bits");
  return result;
}

bool contains(const Value& whole, const Value& part) {
  if (whole.is_string()) {
    if (!part.is_string()) raise(fmt::format("'in <string>' requires string as left operand, not {}", part.kind()));
    return whole.text().find(part.text()) != std::string::npos;
  }
  if (whole.is_dict()) return find(whole.entries(), part) != nullptr;
  const List items = whole.iterate();
  return std::find(items.begin(), items.end(), part) != items.end();
}

}  // namespace introspect::jinja
