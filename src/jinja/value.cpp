#include "jinja/value.h"

#include "jinja/strings.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect::jinja {

void raise(const std::string& what, const std::string& hint) {
  Raised raised(what);
  raised.hint = hint;
  throw raised;
}

Value::Value() : held_(Undefined{}) {}
Value::~Value() = default;
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;

Value Value::list(List items) {
  Value value;
  value.held_ = std::make_shared<const ListHeld>(ListHeld{std::move(items), false});
  return value;
}

Value Value::tuple(List items) {
  Value value;
  value.held_ = std::make_shared<const ListHeld>(ListHeld{std::move(items), true});
  return value;
}

Value Value::dict(Dict entries) {
  Value value;
  value.held_ = std::make_shared<const Dict>(std::move(entries));
  return value;
}

Value Value::from_json(const Json& json) {
  if (json.is_null()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    List items;
    for (const Json& item : json) items.push_back(from_json(item));
    return list(std::move(items));
  }
  Dict entries;
  for (const auto& [key, item] : json.items()) entries.emplace_back(Value(key), from_json(item));
  return dict(std::move(entries));
}

int64_t Value::integer() const {
  if (is_bool()) return std::get<bool>(held_);
  if (!is_int()) raise(fmt::format("got a {}, expected a whole number", kind()));
  return std::get<int64_t>(held_);
}
double Value::real() const {
  return is_float() ? std::get<double>(held_) : static_cast<double>(integer());
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return real() != 0;
  if (is_string()) return !text().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return !entries().empty();
  return true;
}

std::string Value::kind() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return std::get<std::shared_ptr<const ListHeld>>(held_)->tuple ? "tuple" : "list";
  if (is_dict()) return "dict";
  return is_namespace() ? "Namespace" : "function";
}

namespace {

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  const std::string text = fmt::format("{}", number);  // shortest, as Python's
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string joined(const List& items) {
  std::string out;
  for (const Value& item : items) out += (out.empty() ? "" : ", ") + item.repr();
  return out;
}

}  // namespace

std::string Value::repr() const {
  return is_string() ? printable(text()) : str();
}

std::string Value::str() const {
  if (is_undefined()) return "";
  if (is_none()) return "None";
  if (is_bool()) return truth() ? "True" : "False";
  if (is_int()) return std::to_string(integer());
  if (is_float()) return float_text(real());
  if (is_string()) return text();
  if (is_list()) {
    if (kind() == "list") return "[" + joined(items()) + "]";
    return "(" + joined(items()) + (items().size() == 1 ? ",)" : ")");
  }
  if (is_dict()) {
    std::string out;
    for (const auto& [key, value] : entries()) out += (out.empty() ? "" : ", ") + key.repr() + ": " + value.repr();
    return "{" + out + "}";
  }
  raise(fmt::format("a {} cannot be printed", kind()));
}

List Value::iterate() const {
  if (is_undefined()) return {};
  if (is_list()) return items();
  List list;
  if (is_string()) {
    for (const std::string& character : characters(text())) list.emplace_back(character);
  } else if (is_dict()) {
    for (const auto& [key, value] : entries()) list.push_back(key);
  } else {
    raise(fmt::format("a value of type {} cannot be walked through", kind()));
  }
  return list;
}

int64_t Value::length() const {
  if (is_undefined()) return 0;
  if (is_string()) return std::ssize(characters(text()));
  if (is_list()) return std::ssize(items());
  if (is_dict()) return std::ssize(entries());
  raise(fmt::format("a value of type {} has no length", kind()));
}

bool Value::operator==(const Value& other) const {
  if (is_number() && other.is_number()) {
    if (is_float() || other.is_float()) return real() == other.real();
    return integer() == other.integer();
  }
  if (is_string() && other.is_string()) return text() == other.text();
  if (is_list() && other.is_list()) return kind() == other.kind() && items() == other.items();
  if (is_dict() && other.is_dict()) {
    if (entries().size() != other.entries().size()) return false;
    return std::all_of(entries().begin(), entries().end(), [&](const auto& entry) {
      const Value* there = find(other.entries(), entry.first);
      return there && *there == entry.second;
    });
  }
  return (is_none() && other.is_none()) || (is_undefined() && other.is_undefined());
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.real() < b.real() ? -1 : a.real() > b.real();
  if (a.is_string() && b.is_string()) return a.text() < b.text() ? -1 : a.text() > b.text();
  if (a.is_list() && b.is_list()) {
    for (size_t i = 0; i < std::min(a.items().size(), b.items().size()); ++i) {
      if (!(a.items()[i] == b.items()[i])) return compare(a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size();
  }
  raise(fmt::format("'{}' and '{}' have no order", a.kind(), b.kind()));
}

const Value* find(const Dict& dict, const Value& key) {
  const auto found = std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == key; });
  return found == dict.end() ? nullptr : &found->second;
}

std::string to_json(const Value& value, int indent, bool sort_keys) {
  const std::function<std::string(const Value&, int)> write = [&](const Value& each, int depth) -> std::string {
    const auto line = [&](int at) {
      return indent < 0 ? std::string()
                        : "\n" + std::string(static_cast<size_t>(at) * static_cast<size_t>(indent), ' ');
    };
    const std::string comma = indent < 0 ? ", " : ",";
    if (each.is_none()) return "null";
    if (each.is_bool()) return each.truth() ? "true" : "false";
    if (each.is_string()) return Json(each.text()).dump(-1, ' ', false, Json::error_handler_t::replace);
    if (each.is_number()) {
      if (each.is_float() && std::isnan(each.real())) return "NaN";
      if (each.is_float() && std::isinf(each.real())) return each.real() < 0 ? "-Infinity" : "Infinity";
      return each.str();
    }
    if (each.is_list()) {
      std::string out;
      for (const Value& item : each.items()) {
        out += (out.empty() ? "" : comma) + line(depth + 1) + write(item, depth + 1);
      }
      return out.empty() ? "[]" : "[" + out + line(depth) + "]";
    }
    if (!each.is_dict()) raise(fmt::format("a value of type {} has no JSON", each.kind()));
    Dict entries = each.entries();
    if (sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    }
    std::string out;
    for (const auto& [key, item] : entries) {
      const std::string name = key.is_string() ? write(key, depth) : "\"" + write(key, depth) + "\"";
      out += (out.empty() ? "" : comma) + line(depth + 1) + name + ": " + write(item, depth + 1);
    }
    return out.empty() ? "{}" : "{" + out + line(depth) + "}";
  };
  return write(value, 0);
}

Value Arguments::get(size_t place, const std::string& name, Value otherwise) const {
  if (place < values.size()) return values[place];
  for (const auto& [given, value] : named) {
    if (given == name) return value;
  }
  return otherwise;
}

}  // namespace introspect::jinja
