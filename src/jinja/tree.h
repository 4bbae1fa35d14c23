// A template as a tree that runs itself.
#pragma once

#include "jinja/value.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace introspect::jinja {

// Variables: the innermost scope first. `for` and macros open scopes, `if` does not.
class Context {
 public:
  explicit Context(const Dict& variables);
  Value get(const std::string& name) const;
  void set(const std::string& name, Value value) { scopes_.back()[name] = std::move(value); }
  void open() { scopes_.emplace_back(); }
  void close() { scopes_.pop_back(); }
  // A macro sees what its definition saw: the scopes beyond it are put aside while it runs.
  size_t level() const { return scopes_.size(); }
  std::vector<std::map<std::string, Value>> put_aside(size_t level);
  void put_back(std::vector<std::map<std::string, Value>> scopes);
  void step();  // throws Raised after too many

  int line = 0;   // of what runs now
  int depth = 0;  // of macro calls

 private:
  std::vector<std::map<std::string, Value>> scopes_;
  int64_t steps_ = 0;
};

struct Expression {
  virtual ~Expression() = default;
  virtual Value eval(Context& context) const = 0;
};
using ExpressionPtr = std::unique_ptr<const Expression>;

enum class Flow { on, next, leave };  // next: continue, leave: break
struct Statement {
  int line = 0;
  virtual ~Statement() = default;
  virtual Flow run(Context& context, std::string& out) const = 0;
};

struct Body {
  std::vector<std::unique_ptr<const Statement>> statements;
  Flow run(Context& context, std::string& out) const;
};

struct Literal : Expression {
  Value value;
  explicit Literal(Value given) : value(std::move(given)) {}
  Value eval(Context&) const override { return value; }
};
struct Name : Expression {
  std::string name;
  explicit Name(std::string given) : name(std::move(given)) {}
  Value eval(Context& context) const override { return context.get(name); }
};
struct ListOf : Expression {
  std::vector<ExpressionPtr> items;
  bool tuple = false;
  Value eval(Context& context) const override;
};
struct DictOf : Expression {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  Value eval(Context& context) const override;
};
struct Unary : Expression {  // - + not
  std::string sign;
  ExpressionPtr operand;
  Value eval(Context& context) const override;
};
struct Binary : Expression {  // + - * / // % ** ~ and or
  std::string sign;
  ExpressionPtr left, right;
  Value eval(Context& context) const override;
};
struct Comparison : Expression {  // a < b <= c, in, not in
  ExpressionPtr first;
  std::vector<std::pair<std::string, ExpressionPtr>> rest;
  Value eval(Context& context) const override;
};
struct Choice : Expression {  // a if b else c
  ExpressionPtr condition, then, otherwise;
  Value eval(Context& context) const override;
};
struct Attribute : Expression {
  ExpressionPtr object;
  std::string name;
  Value eval(Context& context) const override;
};
struct Subscript : Expression {
  ExpressionPtr object, key;
  Value eval(Context& context) const override;
};
struct Slice : Expression {
  ExpressionPtr object, start, stop, step;  // the last three may be null
  Value eval(Context& context) const override;
};
struct ArgumentList {
  std::vector<ExpressionPtr> values;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  Arguments eval(Context& context) const;
};
struct Call : Expression {
  ExpressionPtr function;
  ArgumentList arguments;
  Value eval(Context& context) const override;
};
struct Filtered : Expression {
  ExpressionPtr value;
  std::string name;
  ArgumentList arguments;
  Value eval(Context& context) const override;
};
struct Tested : Expression {
  ExpressionPtr value;
  std::string name;
  ArgumentList arguments;
  bool negated = false;
  Value eval(Context& context) const override;
};

struct Data : Statement {
  std::string text;
  Flow run(Context& context, std::string& out) const override;
};
struct Output : Statement {
  ExpressionPtr value;
  Flow run(Context& context, std::string& out) const override;
};
struct If : Statement {
  std::vector<std::pair<ExpressionPtr, Body>> branches;  // a null condition: else
  Flow run(Context& context, std::string& out) const override;
};
struct For : Statement {
  std::vector<std::string> names;
  ExpressionPtr list, condition;  // condition may be null
  Body body, otherwise;
  Flow run(Context& context, std::string& out) const override;
};
struct Set : Statement {
  std::vector<std::string> names;
  std::string attribute;  // of a namespace, or empty
  ExpressionPtr value;    // null: the body is
  Body body;
  std::vector<std::pair<std::string, ArgumentList>> filters;  // of a block
  Flow run(Context& context, std::string& out) const override;
};
struct Macro : Statement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with defaults, or null
  Body body;
  Flow run(Context& context, std::string& out) const override;
};
struct Jump : Statement {
  Flow flow = Flow::on;
  Flow run(Context&, std::string&) const override { return flow; }
};
struct Group : Statement {  // {% generation %}
  Body body;
  Flow run(Context& context, std::string& out) const override { return body.run(context, out); }
};

}  // namespace introspect::jinja
