// Methods of Python's strings and dicts, and the functions that every template may call.
#include "jinja/builtins.h"
#include "jinja/strings.h"

#include <algorithm>
#include <ctime>
#include <map>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

std::string text_of(const Value& value, const char* what) {
  if (!value.is_string()) raise(fmt::format("{}: got a {}, expected text", what, value.kind()));
  return value.text();
}

int64_t most_of(const Value& value) {
  return value.is_int() ? value.integer() : -1;
}

bool begins_or_ends(const std::string& text, const Value& given, bool begins) {
  for (const Value& each : given.is_list() ? given.items() : List{given}) {
    const std::string part = text_of(each, begins ? "startswith" : "endswith");
    if (begins ? text.starts_with(part) : text.ends_with(part)) return true;
  }
  return false;
}

Value list_of(const std::vector<std::string>& parts) {
  List items;
  for (const std::string& part : parts) items.emplace_back(part);
  return Value::list(std::move(items));
}

// rsplit with a separator: cuts from the right.
Value split_from_right(const std::string& text, const std::string& by, int64_t most) {
  std::vector<std::string> parts;
  size_t end = text.size();
  for (size_t found; most != 0 && end >= by.size() && (found = text.rfind(by, end - by.size())) != std::string::npos;
       --most) {
    parts.push_back(text.substr(found + by.size(), end - found - by.size()));
    end = found;
    if (found == 0) break;
  }
  parts.push_back(text.substr(0, end));
  std::reverse(parts.begin(), parts.end());
  return list_of(parts);
}

int64_t place_of(const std::string& text, const std::string& part, bool last) {
  const size_t found = last ? text.rfind(part) : text.find(part);
  return found == std::string::npos ? -1 : std::ssize(characters(text.substr(0, found)));
}

using StringMethod = std::function<Value(const std::string&, const Arguments&)>;

const std::map<std::string, StringMethod>& string_methods() {
  static const std::map<std::string, StringMethod> methods = [] {
    std::map<std::string, StringMethod> all;
    for (const auto& [name, side] :
         {std::pair{"strip", Side::both}, std::pair{"lstrip", Side::left}, std::pair{"rstrip", Side::right}}) {
      all[name] = [side = side](const std::string& text, const Arguments& given) {
        const Value of = given.get(0, "chars", None{});
        return Value(stripped(text, side, of.is_none() ? "" : text_of(of, "strip")));
      };
    }
    all["upper"] = [](const std::string& text, const Arguments&) { return Value(upper(text)); };
    all["lower"] = [](const std::string& text, const Arguments&) { return Value(lower(text)); };
    all["title"] = [](const std::string& text, const Arguments&) { return Value(titled(text)); };
    all["capitalize"] = [](const std::string& text, const Arguments&) { return Value(capitalised(text)); };
    all["startswith"] = [](const std::string& text, const Arguments& given) {
      return Value(begins_or_ends(text, given.get(0, "prefix"), true));
    };
    all["endswith"] = [](const std::string& text, const Arguments& given) {
      return Value(begins_or_ends(text, given.get(0, "suffix"), false));
    };
    all["split"] = [](const std::string& text, const Arguments& given) {
      const Value by = given.get(0, "sep", None{});
      if (by.is_string() && by.text().empty()) raise("split: empty separator");
      return list_of(split(text, by.is_none() ? "" : text_of(by, "split"), most_of(given.get(1, "maxsplit"))));
    };
    all["rsplit"] = [](const std::string& text, const Arguments& given) {
      const Value by = given.get(0, "sep", None{});
      if (by.is_none() || text_of(by, "rsplit").empty()) raise("rsplit needs a separator here");
      return split_from_right(text, by.text(), most_of(given.get(1, "maxsplit")));
    };
    all["splitlines"] = [](const std::string& text, const Arguments&) {
      std::vector<std::string> lines = split(replaced(replaced(text, "\r\n", "\n"), "\r", "\n"), "\n");
      if (lines.back().empty()) lines.pop_back();
      return list_of(lines);
    };
    all["replace"] = [](const std::string& text, const Arguments& given) {
      return Value(replaced(text, text_of(given.get(0, "old"), "replace"), text_of(given.get(1, "new"), "replace"),
                            most_of(given.get(2, "count"))));
    };
    all["join"] = [](const std::string& text, const Arguments& given) {
      std::string out;
      bool first = true;
      for (const Value& each : given.get(0, "iterable").iterate()) {
        out += (first ? "" : text) + text_of(each, "join");
        first = false;
      }
      return Value(out);
    };
    all["find"] = [](const std::string& text, const Arguments& given) {
      return Value(place_of(text, text_of(given.get(0, "sub"), "find"), false));
    };
    all["rfind"] = [](const std::string& text, const Arguments& given) {
      return Value(place_of(text, text_of(given.get(0, "sub"), "rfind"), true));
    };
    all["count"] = [](const std::string& text, const Arguments& given) {
      return Value(std::ssize(split(text, text_of(given.get(0, "sub"), "count"))) - 1);
    };
    all["removeprefix"] = [](const std::string& text, const Arguments& given) {
      const std::string part = text_of(given.get(0, "prefix"), "removeprefix");
      return Value(text.starts_with(part) ? text.substr(part.size()) : text);
    };
    all["removesuffix"] = [](const std::string& text, const Arguments& given) {
      const std::string part = text_of(given.get(0, "suffix"), "removesuffix");
      return Value(text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text);
    };
    all["isdigit"] = [](const std::string& text, const Arguments&) {
      return Value(!text.empty() && text.find_first_not_of("0123456789") == std::string::npos);
    };
    return all;
  }();
  return methods;
}

Value dict_method(const Value& dict, const std::string& name) {
  if (name == "items") {
    return Function([dict](const Arguments&) {
      List items;
      for (const auto& [key, value] : dict.entries()) items.push_back(Value::tuple({key, value}));
      return Value::list(std::move(items));
    });
  }
  if (name == "keys") return Function([dict](const Arguments&) { return Value::list(dict.iterate()); });
  if (name == "values") {
    return Function([dict](const Arguments&) {
      List items;
      for (const auto& [key, value] : dict.entries()) items.push_back(value);
      return Value::list(std::move(items));
    });
  }
  if (name == "get") {
    return Function([dict](const Arguments& given) {
      const Value* found = find(dict.entries(), given.get(0, "key"));
      return found ? *found : given.get(1, "default", None{});
    });
  }
  return {};
}

std::string time_now(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[256];
  return {text, std::strftime(text, sizeof text, format.c_str(), &local)};
}

Value numbers(const Arguments& given) {
  const auto at = [&](size_t place) {
    if (!given.values[place].is_int()) raise("range: expected whole numbers");
    return given.values[place].integer();
  };
  const size_t count = given.values.size();
  if (count < 1 || count > 3) raise(fmt::format("range: got {} arguments, expected 1 to 3", count));
  const int64_t first = count > 1 ? at(0) : 0, last = at(count > 1 ? 1 : 0), step = count > 2 ? at(2) : 1;
  if (step == 0) raise("range: the step is zero");
  List items;
  for (int64_t i = first; step > 0 ? i < last : i > last; i += step) {
    if (items.size() >= 100000) raise("range: more than 100,000 numbers");
    items.emplace_back(i);
  }
  return Value::list(std::move(items));
}

}  // namespace

Value method_of(const Value& value, const std::string& name) {
  if (value.is_dict()) return dict_method(value, name);
  if (value.is_string()) {
    const auto found = string_methods().find(name);
    if (found == string_methods().end()) return {};
    return Function(
        [text = value.text(), method = &found->second](const Arguments& given) { return (*method)(text, given); });
  }
  if (value.is_list() && name == "index") {
    return Function([value](const Arguments& given) {
      const auto found = std::find(value.items().begin(), value.items().end(), given.get(0, "value"));
      if (found == value.items().end()) raise("index: the value is not in the list");
      return Value(static_cast<int64_t>(found - value.items().begin()));
    });
  }
  if (value.is_list() && name == "count") {
    return Function([value](const Arguments& given) {
      return Value(static_cast<int64_t>(std::count(value.items().begin(), value.items().end(), given.get(0, "value"))));
    });
  }
  if (value.is_list() && (name == "append" || name == "extend" || name == "insert" || name == "pop")) {
    raise(fmt::format("list.{}: templates may not change a list", name), "transformers refuses it as well");
  }
  return {};
}

const Dict& global_functions() {
  static const Dict functions = {
      {"raise_exception", Function([](const Arguments& given) -> Value { raise(given.get(0, "message").str()); })},
      {"strftime_now", Function([](const Arguments& given) {
         return Value(time_now(text_of(given.get(0, "format"), "strftime_now")));
       })},
      {"range", Function(numbers)},
      {"dict", Function([](const Arguments& given) {
         Dict entries;
         for (const auto& [name, value] : given.named) entries.emplace_back(Value(name), value);
         return Value::dict(std::move(entries));
       })},
      {"namespace", Function([](const Arguments& given) {
         auto space = std::make_shared<Value::Namespace>();
         for (const Value& each : given.values) {
           if (!each.is_dict()) raise("namespace: expected a dict or named values");
           for (const auto& [name, value] : each.entries()) space->names.emplace_back(name.str(), value);
         }
         for (const auto& [name, value] : given.named) space->names.emplace_back(name, value);
         return Value(space);
       })}};
  return functions;
}

}  // namespace introspect::jinja
