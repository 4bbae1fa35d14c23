// What a template may call: filters, tests, methods of strings and dicts, functions.
#pragma once

#include "jinja/value.h"

#include <string>

namespace introspect::jinja {

// value | name(arguments). Throws Raised for an unknown filter, as all here do for what is wrong.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
bool is_filter(const std::string& name);
// value is name(arguments).
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
bool is_test(const std::string& name);

// A method of a string, list or dict as a function; undefined if there is none of this name.
Value method_of(const Value& value, const std::string& name);

// value.name (methods first) and value[key] (entries first). What is not there is undefined; asking an undefined value
// is an error.
Value attribute(const Value& value, const std::string& name);
Value subscript(const Value& value, const Value& key);
Value slice(const Value& value, const Value& start, const Value& stop, const Value& step);

Value add(const Value& a, const Value& b);
// One of - * / // % ** for numbers, * for repeated text and lists, % for text with %s.
Value arithmetic(const std::string& sign, const Value& a, const Value& b);
bool contains(const Value& whole, const Value& part);

// raise_exception, strftime_now, namespace, range, dict.
const Dict& global_functions();

}  // namespace introspect::jinja
