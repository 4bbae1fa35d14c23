#include "jinja/tree.h"

#include "jinja/builtins.h"

#include <algorithm>

#include <fmt/format.h>

namespace introspect::jinja {

Context::Context(const Dict& variables) {
  scopes_.resize(2);
  for (const auto& [name, value] : global_functions()) scopes_[0][name.text()] = value;
  for (const auto& [name, value] : variables) scopes_[1][name.text()] = value;
}

Value Context::get(const std::string& name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto found = scope->find(name); found != scope->end()) return found->second;
  }
  return Undefined{"'" + name + "'"};
}

std::vector<std::map<std::string, Value>> Context::put_aside(size_t level) {
  const auto first = scopes_.begin() + static_cast<std::ptrdiff_t>(std::min(level, scopes_.size()));
  std::vector<std::map<std::string, Value>> aside(std::make_move_iterator(first),
                                                  std::make_move_iterator(scopes_.end()));
  scopes_.erase(first, scopes_.end());
  return aside;
}

void Context::put_back(std::vector<std::map<std::string, Value>> scopes) {
  for (auto& scope : scopes) scopes_.push_back(std::move(scope));
}

void Context::step() {
  if (++steps_ > 10'000'000) raise("more than 10 million steps");
}

Flow Body::run(Context& context, std::string& out) const {
  for (const auto& statement : statements) {
    context.step();
    context.line = statement->line;
    if (const Flow flow = statement->run(context, out); flow != Flow::on) return flow;
    if (out.size() > (size_t{64} << 20)) raise("more than 64 MiB of text");
  }
  return Flow::on;
}

Value ListOf::eval(Context& context) const {
  List list;
  for (const ExpressionPtr& item : items) list.push_back(item->eval(context));
  return tuple ? Value::tuple(std::move(list)) : Value::list(std::move(list));
}

Value DictOf::eval(Context& context) const {
  Dict dict;
  for (const auto& [key, value] : entries) {
    const Value name = key->eval(context);
    Value held = value->eval(context);
    const auto found = std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == name; });
    if (found != dict.end()) {
      found->second = std::move(held);
    } else {
      dict.emplace_back(name, std::move(held));
    }
  }
  return Value::dict(std::move(dict));
}

Value Unary::eval(Context& context) const {
  const Value value = operand->eval(context);
  if (sign == "not") return !value.truth();
  return sign == "-" ? arithmetic("*", value, -1) : arithmetic("*", value, 1);
}

Value Binary::eval(Context& context) const {
  const Value a = left->eval(context);
  if (sign == "and") return a.truth() ? right->eval(context) : a;
  if (sign == "or") return a.truth() ? a : right->eval(context);
  const Value b = right->eval(context);
  if (sign == "~") return a.str() + b.str();
  return sign == "+" ? add(a, b) : arithmetic(sign, a, b);
}

Value Comparison::eval(Context& context) const {
  Value left = first->eval(context);
  for (const auto& [sign, expression] : rest) {
    const Value right = expression->eval(context);
    bool holds = false;
    if (sign == "==") {
      holds = left == right;
    } else if (sign == "!=") {
      holds = !(left == right);
    } else if (sign == "in") {
      holds = contains(right, left);
    } else if (sign == "not in") {
      holds = !contains(right, left);
    } else {
      if (left.is_undefined()) raise(left.undefined_name() + " is undefined");
      if (right.is_undefined()) raise(right.undefined_name() + " is undefined");
      const int order = compare(left, right);
      holds = sign == "<" ? order < 0 : sign == "<=" ? order <= 0 : sign == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return false;
    left = right;
  }
  return true;
}

Value Choice::eval(Context& context) const {
  if (condition->eval(context).truth()) return then->eval(context);
  return otherwise ? otherwise->eval(context) : Value(Undefined{"the inline if-expression without else"});
}

Value Attribute::eval(Context& context) const {
  Value value = object->eval(context);
  return attribute(value, name);
}

Value Subscript::eval(Context& context) const {
  const Value value = object->eval(context);
  return subscript(value, key->eval(context));
}

Value Slice::eval(Context& context) const {
  const auto part = [&](const ExpressionPtr& given) { return given ? given->eval(context) : Value(None{}); };
  return slice(object->eval(context), part(start), part(stop), part(step));
}

Arguments ArgumentList::eval(Context& context) const {
  Arguments arguments;
  for (const ExpressionPtr& value : values) arguments.values.push_back(value->eval(context));
  for (const auto& [name, value] : named) arguments.named.emplace_back(name, value->eval(context));
  return arguments;
}

Value Call::eval(Context& context) const {
  const Value called = function->eval(context);
  if (called.is_undefined()) raise(called.undefined_name() + " is undefined");
  if (!called.is_function()) raise(fmt::format("a {} cannot be called", called.kind()));
  context.step();
  return called.function()(arguments.eval(context));
}

Value Filtered::eval(Context& context) const {
  return apply_filter(name, value->eval(context), arguments.eval(context));
}

Value Tested::eval(Context& context) const {
  return apply_test(name, value->eval(context), arguments.eval(context)) != negated;
}

Flow Data::run(Context&, std::string& out) const {
  out += text;
  return Flow::on;
}

Flow Output::run(Context& context, std::string& out) const {
  out += value->eval(context).str();
  return Flow::on;
}

Flow If::run(Context& context, std::string& out) const {
  for (const auto& [condition, body] : branches) {
    if (!condition || condition->eval(context).truth()) return body.run(context, out);
  }
  return Flow::on;
}

namespace {

void assign(Context& context, const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) return context.set(names.front(), value);
  const List parts = value.iterate();
  if (parts.size() != names.size()) {
    raise(fmt::format("got {} values for {} names", parts.size(), names.size()));
  }
  for (size_t i = 0; i < names.size(); ++i) context.set(names[i], parts[i]);
}

Value loop_of(const List& items, size_t i) {
  const auto index = static_cast<int64_t>(i), count = std::ssize(items);
  const auto neighbour = [&](bool there, size_t at) {
    return there ? items[at] : Value(Undefined{"there is no neighbouring item, which"});
  };
  return Value::dict({{"index0", index},
                      {"index", index + 1},
                      {"revindex0", count - 1 - index},
                      {"revindex", count - index},
                      {"first", index == 0},
                      {"last", index + 1 == count},
                      {"length", count},
                      {"depth", 1},
                      {"depth0", 0},
                      {"previtem", neighbour(i > 0, i - 1)},
                      {"nextitem", neighbour(i + 1 < items.size(), i + 1)},
                      {"cycle", Function([index](const Arguments& given) {
                         if (given.values.empty()) raise("loop.cycle: expected values");
                         return given.values[static_cast<size_t>(index) % given.values.size()];
                       })}});
}

}  // namespace

Flow For::run(Context& context, std::string& out) const {
  List items = list->eval(context).iterate();
  if (condition) {
    List kept;
    for (const Value& item : items) {
      context.open();
      assign(context, names, item);
      if (condition->eval(context).truth()) kept.push_back(item);
      context.close();
    }
    items = std::move(kept);
  }
  if (items.empty()) return otherwise.run(context, out);
  for (size_t i = 0; i < items.size(); ++i) {
    context.step();
    context.open();
    context.set("loop", loop_of(items, i));
    assign(context, names, items[i]);
    const Flow flow = body.run(context, out);
    context.close();
    if (flow == Flow::leave) break;
  }
  return Flow::on;
}

Flow Set::run(Context& context, std::string& out) const {
  (void)out;
  Value assigned;
  if (value) {
    assigned = value->eval(context);
  } else {
    std::string text;
    context.open();
    body.run(context, text);
    context.close();
    assigned = text;
    for (const auto& [name, arguments] : filters) assigned = apply_filter(name, assigned, arguments.eval(context));
  }
  if (attribute.empty()) {
    assign(context, names, assigned);
    return Flow::on;
  }
  const Value space = context.get(names.front());
  if (!space.is_namespace()) {
    raise(fmt::format("'{}' is no namespace, so '{}.{}' cannot be set", names.front(), names.front(), attribute));
  }
  for (auto& [name, held] : space.space().names) {
    if (name != attribute) continue;
    held = assigned;
    return Flow::on;
  }
  space.space().names.emplace_back(attribute, assigned);
  return Flow::on;
}

Flow Macro::run(Context& context, std::string&) const {
  context.set(
      name, Function([this, &context, level = context.level()](const Arguments& given) {
        if (given.values.size() > parameters.size()) {
          raise(fmt::format("macro '{}' takes {} arguments, got {}", name, parameters.size(), given.values.size()));
        }
        for (const auto& [argument, value] : given.named) {
          const bool known = std::any_of(parameters.begin(), parameters.end(),
                                         [&, &wanted = argument](const auto& each) { return each.first == wanted; });
          if (!known) raise(fmt::format("macro '{}' takes no argument '{}'", name, argument));
        }
        if (++context.depth > 100) raise("more than 100 macros inside each other");
        auto aside = context.put_aside(level);
        context.open();
        for (size_t i = 0; i < parameters.size(); ++i) {
          Value value = given.get(i, parameters[i].first);
          if (value.is_undefined() && parameters[i].second) value = parameters[i].second->eval(context);
          context.set(parameters[i].first, value);
        }
        std::string text;
        const int called_from = context.line;
        body.run(context, text);
        context.line = called_from;
        context.close();
        context.put_back(std::move(aside));
        --context.depth;
        return Value(text);
      }));
  return Flow::on;
}

}  // namespace introspect::jinja
