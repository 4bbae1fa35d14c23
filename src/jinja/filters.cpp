// Filters and tests, as Jinja2 has them; tojson as transformers sets it.
#include "jinja/builtins.h"
#include "jinja/strings.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

using Filter = std::function<Value(const Value&, const Arguments&)>;
using Test = std::function<bool(const Value&, const Arguments&)>;

// The items that pass a test: select(name, ...), or selectattr(attribute, name, ...).
Value selected(const Value& value, const Arguments& given, bool by_attribute, bool wanted) {
  Arguments rest = given;
  std::string attribute_name;
  if (by_attribute) {
    if (rest.values.empty()) raise("selectattr: expected the name of an attribute");
    attribute_name = rest.values.front().str();
    rest.values.erase(rest.values.begin());
  }
  std::string test;
  if (!rest.values.empty()) {
    test = rest.values.front().str();
    rest.values.erase(rest.values.begin());
  }
  List items;
  for (const Value& each : value.iterate()) {
    Value looked_at = each;
    if (by_attribute) {
      for (const std::string& name : split(attribute_name, ".")) looked_at = subscript(looked_at, Value(name));
    }
    const bool passes = test.empty() ? looked_at.truth() : apply_test(test, looked_at, rest);
    if (passes == wanted) items.push_back(each);
  }
  return Value::list(std::move(items));
}

Value mapped(const Value& value, const Arguments& given) {
  const Value name = given.get(1000, "attribute"), otherwise = given.get(1000, "default");
  Arguments rest = given;
  std::string filter;
  if (name.is_undefined()) {
    if (rest.values.empty()) raise("map: expected a filter or attribute=");
    filter = rest.values.front().str();
    rest.values.erase(rest.values.begin());
  }
  List items;
  for (const Value& each : value.iterate()) {
    if (!filter.empty()) {
      items.push_back(apply_filter(filter, each, rest));
      continue;
    }
    Value found = each;
    for (const std::string& part : split(name.str(), ".")) {
      found = found.is_undefined() ? found : subscript(found, Value(part));
    }
    items.push_back(found.is_undefined() && !otherwise.is_undefined() ? otherwise : found);
  }
  return Value::list(std::move(items));
}

std::string indented(const std::string& text, const Arguments& given) {
  const Value width = given.get(0, "width", 4);
  if (!width.is_string() && width.integer() > 1000) raise("indent: a width of more than 1,000");
  const std::string by =
      width.is_string() ? width.text() : std::string(static_cast<size_t>(std::max<int64_t>(0, width.integer())), ' ');
  const bool first = given.get(1, "first", false).truth(), blank = given.get(2, "blank", false).truth();
  std::string out;
  bool begin = true;
  for (const std::string& line : split(text, "\n")) {
    if (!begin) out += '\n';
    out += (begin ? first : blank || !line.empty()) ? by + line : line;
    begin = false;
  }
  return out;
}

Value sorted(const Value& value, const Arguments& given) {
  List items = value.iterate();
  const Value by = given.get(2, "attribute");
  const bool downwards = given.get(0, "reverse", false).truth(), exact = given.get(1, "case_sensitive", false).truth();
  const auto key = [&](const Value& each) {
    const Value found = by.is_string() ? subscript(each, by) : each;
    return found.is_string() && !exact ? Value(lower(found.text())) : found;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return downwards ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return Value::list(std::move(items));
}

Value dict_sorted(const Value& value, const Arguments& given) {
  if (!value.is_dict()) raise(fmt::format("dictsort: got a {}, expected a dict", value.kind()));
  List items;
  for (const auto& [key, held] : value.entries()) items.push_back(Value::tuple({key, held}));
  const size_t by = given.get(1, "by", "key").str() == "value" ? 1 : 0;
  const bool exact = given.get(0, "case_sensitive", false).truth(), downwards = given.get(2, "reverse", false).truth();
  const auto key = [&](const Value& item) {
    const Value& part = item.items()[by];
    return part.is_string() && !exact ? Value(lower(part.text())) : part;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return downwards ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return Value::list(std::move(items));
}

Value whole_number(double real) {
  if (!(std::abs(real) < 9e18)) raise("a number beyond 64 bits");
  return static_cast<int64_t>(real);
}

Value number_of(const Value& value, const Arguments& given, bool whole) {
  if (value.is_number()) return whole ? whole_number(value.real()) : Value(value.real());
  if (value.is_string()) {
    const std::string text = stripped(value.text(), Side::both);
    char* end = nullptr;
    const double real = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0') return whole ? whole_number(real) : Value(real);
  }
  return given.get(0, "default", whole ? Value(0) : Value(0.0));
}

std::string escaped(const std::string& text) {
  std::string out = replaced(text, "&", "&amp;");
  for (const auto& [from, to] :
       {std::pair{"<", "&lt;"}, std::pair{">", "&gt;"}, std::pair{"'", "&#39;"}, std::pair{"\"", "&#34;"}}) {
    out = replaced(out, from, to);
  }
  return out;
}

Value extreme(const Value& value, int sign) {
  const List items = value.iterate();
  if (items.empty()) return Undefined{"the extreme of an empty list"};
  return *std::max_element(items.begin(), items.end(),
                           [&](const Value& a, const Value& b) { return sign * compare(a, b) < 0; });
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> all = [] {
    std::map<std::string, Filter> f;
    f["trim"] = [](const Value& v, const Arguments& a) {
      const Value of = a.get(0, "chars", None{});
      return Value(stripped(v.str(), Side::both, of.is_none() ? "" : of.str()));
    };
    f["length"] = f["count"] = [](const Value& v, const Arguments&) { return Value(v.length()); };
    f["upper"] = [](const Value& v, const Arguments&) { return Value(upper(v.str())); };
    f["lower"] = [](const Value& v, const Arguments&) { return Value(lower(v.str())); };
    f["title"] = [](const Value& v, const Arguments&) { return Value(titled_by_words(v.str())); };
    f["capitalize"] = [](const Value& v, const Arguments&) { return Value(capitalised(v.str())); };
    f["replace"] = [](const Value& v, const Arguments& a) {
      const Value most = a.get(2, "count");
      return Value(
          replaced(v.str(), a.get(0, "old").str(), a.get(1, "new").str(), most.is_int() ? most.integer() : -1));
    };
    f["default"] = f["d"] = [](const Value& v, const Arguments& a) {
      const bool falsy = a.get(1, "boolean", false).truth();
      return v.is_undefined() || (falsy && !v.truth()) ? a.get(0, "default_value", "") : v;
    };
    f["first"] = [](const Value& v, const Arguments&) {
      const List items = v.iterate();
      return items.empty() ? Value(Undefined{"the first item of nothing"}) : items.front();
    };
    f["last"] = [](const Value& v, const Arguments&) {
      const List items = v.iterate();
      return items.empty() ? Value(Undefined{"the last item of nothing"}) : items.back();
    };
    f["join"] = [](const Value& v, const Arguments& a) {
      const std::string between = a.get(0, "d", "").str();
      const Value by = a.get(1, "attribute");
      std::string out;
      bool first = true;
      for (const Value& each : v.iterate()) {
        out += (first ? "" : between) + (by.is_string() ? subscript(each, by) : each).str();
        first = false;
      }
      return Value(out);
    };
    f["list"] = [](const Value& v, const Arguments&) { return Value::list(v.iterate()); };
    f["string"] = [](const Value& v, const Arguments&) { return Value(v.str()); };
    f["safe"] = [](const Value& v, const Arguments&) { return v; };
    f["escape"] = f["e"] = [](const Value& v, const Arguments&) { return Value(escaped(v.str())); };
    f["int"] = [](const Value& v, const Arguments& a) { return number_of(v, a, true); };
    f["float"] = [](const Value& v, const Arguments& a) { return number_of(v, a, false); };
    f["abs"] = [](const Value& v, const Arguments&) {
      return v.is_float() ? Value(std::abs(v.real())) : arithmetic("*", v, v.truth() && v.integer() < 0 ? -1 : 1);
    };
    f["round"] = [](const Value& v, const Arguments& a) {
      const double scale = std::pow(10.0, a.get(0, "precision", 0).real());
      return Value(std::nearbyint(v.real() * scale) / scale);
    };
    f["tojson"] = [](const Value& v, const Arguments& a) {
      const Value indent = a.get(1000, "indent", a.get(0, "indent", None{}));
      return Value(to_json(v, indent.is_int() ? static_cast<int>(indent.integer()) : -1,
                           a.get(1000, "sort_keys", false).truth()));
    };
    f["items"] = [](const Value& v, const Arguments&) {
      if (v.is_undefined()) return Value::list({});
      if (!v.is_dict()) raise(fmt::format("items: got a {}, expected a dict", v.kind()));
      return method_of(v, "items").function()({});
    };
    f["dictsort"] = dict_sorted;
    f["sort"] = sorted;
    f["reverse"] = [](const Value& v, const Arguments&) { return slice(v, {}, {}, -1); };
    f["unique"] = [](const Value& v, const Arguments&) {
      List items;
      for (const Value& each : v.iterate()) {
        if (std::find(items.begin(), items.end(), each) == items.end()) items.push_back(each);
      }
      return Value::list(std::move(items));
    };
    f["sum"] = [](const Value& v, const Arguments&) {
      Value total = 0;
      for (const Value& each : v.iterate()) total = add(total, each);
      return total;
    };
    f["min"] = [](const Value& v, const Arguments&) { return extreme(v, -1); };
    f["max"] = [](const Value& v, const Arguments&) { return extreme(v, 1); };
    f["indent"] = [](const Value& v, const Arguments& a) { return Value(indented(v.str(), a)); };
    f["map"] = mapped;
    f["select"] = [](const Value& v, const Arguments& a) { return selected(v, a, false, true); };
    f["reject"] = [](const Value& v, const Arguments& a) { return selected(v, a, false, false); };
    f["selectattr"] = [](const Value& v, const Arguments& a) { return selected(v, a, true, true); };
    f["rejectattr"] = [](const Value& v, const Arguments& a) { return selected(v, a, true, false); };
    f["wordcount"] = [](const Value& v, const Arguments&) { return Value(std::ssize(split(v.str(), ""))); };
    return f;
  }();
  return all;
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> all = [] {
    std::map<std::string, Test> t;
    t["defined"] = [](const Value& v, const Arguments&) { return !v.is_undefined(); };
    t["undefined"] = [](const Value& v, const Arguments&) { return v.is_undefined(); };
    t["none"] = [](const Value& v, const Arguments&) { return v.is_none(); };
    t["string"] = [](const Value& v, const Arguments&) { return v.is_string(); };
    t["number"] = [](const Value& v, const Arguments&) { return v.is_number(); };
    t["integer"] = [](const Value& v, const Arguments&) { return v.is_int(); };
    t["float"] = [](const Value& v, const Arguments&) { return v.is_float(); };
    t["boolean"] = [](const Value& v, const Arguments&) { return v.is_bool(); };
    t["true"] = [](const Value& v, const Arguments&) { return v.is_bool() && v.truth(); };
    t["false"] = [](const Value& v, const Arguments&) { return v.is_bool() && !v.truth(); };
    t["mapping"] = [](const Value& v, const Arguments&) { return v.is_dict(); };
    t["iterable"] = [](const Value& v, const Arguments&) { return v.is_iterable(); };
    t["sequence"] = [](const Value& v, const Arguments&) { return v.is_iterable(); };
    t["callable"] = [](const Value& v, const Arguments&) { return v.is_function(); };
    t["eq"] = t["equalto"] = t["=="] = [](const Value& v, const Arguments& a) { return v == a.get(0, "other"); };
    t["ne"] = t["!="] = [](const Value& v, const Arguments& a) { return !(v == a.get(0, "other")); };
    t["lt"] = t["lessthan"] = [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "other")) < 0; };
    t["le"] = [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "other")) <= 0; };
    t["gt"] = t["greaterthan"] = [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "other")) > 0; };
    t["ge"] = [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "other")) >= 0; };
    t["in"] = [](const Value& v, const Arguments& a) { return contains(a.get(0, "seq"), v); };
    t["odd"] = [](const Value& v, const Arguments&) { return arithmetic("%", v, 2) == Value(1); };
    t["even"] = [](const Value& v, const Arguments&) { return arithmetic("%", v, 2) == Value(0); };
    t["divisibleby"] = [](const Value& v, const Arguments& a) {
      return arithmetic("%", v, a.get(0, "num")) == Value(0);
    };
    t["lower"] = [](const Value& v, const Arguments&) {
      return v.str() == lower(v.str()) && v.str() != upper(v.str());
    };
    t["upper"] = [](const Value& v, const Arguments&) {
      return v.str() == upper(v.str()) && v.str() != lower(v.str());
    };
    t["sameas"] = [](const Value& v, const Arguments& a) {
      const Value other = a.get(0, "other");
      return v.kind() == other.kind() && v == other;
    };
    t["filter"] = [](const Value& v, const Arguments&) { return is_filter(v.str()); };
    t["test"] = [](const Value& v, const Arguments&) { return is_test(v.str()); };
    return t;
  }();
  return all;
}

}  // namespace

bool is_filter(const std::string& name) {
  return filters().contains(name);
}
bool is_test(const std::string& name) {
  return tests().contains(name);
}

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) raise(fmt::format("the filter '{}' is not supported", name));
  return found->second(value, arguments);
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) raise(fmt::format("the test 'is {}' is not supported", name));
  return found->second(value, arguments);
}

}  // namespace introspect::jinja
