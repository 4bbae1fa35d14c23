#include "jinja/parser.h"

#include "jinja/builtins.h"
#include "jinja/lexer.h"

#include <cstdlib>
#include <set>

#include <fmt/format.h>

namespace introspect::jinja {

namespace {

// Recursive descent, in Jinja's order of precedence: if-else, or, and, not, comparison, + -, ~, * / // %, unary, **,
// then calls, attributes and filters.
class Parser {
 public:
  Parser(std::vector<Token> tokens, int& line) : tokens_(std::move(tokens)), line_(line) {}

  Body run() {
    Body body = statements({});
    if (peek().kind != TokenKind::end) raise("unexpected tag");
    return body;
  }

 private:
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = tokens_[std::min(at_, tokens_.size() - 1)];
    line_ = token.line;
    ++at_;
    return token;
  }
  bool is_sign(const std::string& sign) const { return peek().kind == TokenKind::sign && peek().text == sign; }
  bool is_word(const std::string& word) const { return peek().kind == TokenKind::name && peek().text == word; }
  bool take_sign(const std::string& sign) { return is_sign(sign) && (next(), true); }
  bool take_word(const std::string& word) { return is_word(word) && (next(), true); }
  static std::string shown(const Token& token) {
    switch (token.kind) {
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::end_block:
        return "'%}'";
      case TokenKind::end_output:
        return "'}}'";
      default:
        return "'" + token.text + "'";
    }
  }
  void expect_sign(const std::string& sign) {
    if (!take_sign(sign)) raise(fmt::format("got {}, expected '{}'", shown(next()), sign));
  }
  void expect_word(const std::string& word) {
    if (!take_word(word)) raise(fmt::format("got {}, expected '{}'", shown(next()), word));
  }
  void expect(TokenKind kind, const char* what) {
    const Token& token = next();
    if (token.kind != kind) raise(fmt::format("got {}, expected {}", shown(token), what));
  }
  std::string name(const char* what) {
    const Token& token = next();
    if (token.kind != TokenKind::name) raise(fmt::format("got {}, expected {}", shown(token), what));
    return token.text;
  }

  // Items between commas, up to `close`; a comma may stand behind the last.
  template <class Item>
  void until(const std::string& close, const Item& item) {
    while (!take_sign(close)) {
      item();
      if (!is_sign(close)) expect_sign(",");
    }
  }

  struct Deeper {
    explicit Deeper(int& depth) : depth_(depth) {
      if (++depth_ > 200) raise("nested more than 200 deep");
    }
    ~Deeper() { --depth_; }
    int& depth_;
  };

  // Until a block whose first word is in `ends`; its '{%' and the word are left.
  Body statements(const std::set<std::string>& ends) {
    const Deeper deeper(depth_);
    Body body;
    for (;;) {
      const Token& token = peek();
      if (token.kind == TokenKind::end) {
        if (!ends.empty()) raise(fmt::format("the template ends, expected '{{% {} %}}'", *ends.rbegin()));
        return body;
      }
      if (token.kind == TokenKind::begin_block && ends.contains(peek(1).text)) return body;
      const int line = token.line;
      std::unique_ptr<Statement> made;
      if (token.kind == TokenKind::data) {
        auto data = std::make_unique<Data>();
        data->text = next().text;
        made = std::move(data);
      } else if (token.kind == TokenKind::begin_output) {
        next();
        auto output = std::make_unique<Output>();
        output->value = expressions();
        expect(TokenKind::end_output, "'}}'");
        made = std::move(output);
      } else {
        next();
        made = block();
      }
      made->line = line;
      body.statements.push_back(std::move(made));
    }
  }

  void end_block() { expect(TokenKind::end_block, "'%}'"); }
  void close_with(const std::string& word) {
    expect(TokenKind::begin_block, "'{%'");
    expect_word(word);
    end_block();
  }

  std::unique_ptr<Statement> block() {
    const std::string word = name("a statement");
    if (word == "if") return if_block();
    if (word == "for") return for_block();
    if (word == "set") return set_block();
    if (word == "macro") return macro_block();
    if (word == "break" || word == "continue") {
      if (loops_ == 0) raise(fmt::format("'{}' outside of a loop", word));
      end_block();
      auto jump = std::make_unique<Jump>();
      jump->flow = word == "break" ? Flow::leave : Flow::next;
      return jump;
    }
    if (word == "generation") {
      end_block();
      auto group = std::make_unique<Group>();
      group->body = statements({"endgeneration"});
      close_with("endgeneration");
      return group;
    }
    raise(fmt::format("the statement '{}' is not supported", word));
  }

  std::unique_ptr<Statement> if_block() {
    auto made = std::make_unique<If>();
    ExpressionPtr condition = expressions();
    for (;;) {
      end_block();
      Body body = statements({"elif", "else", "endif"});
      const bool last = condition == nullptr;
      made->branches.emplace_back(std::move(condition), std::move(body));
      next();  // '{%'
      const std::string word = name("'endif'");
      if (word == "endif") break;
      if (last) raise(fmt::format("'{}' behind 'else'", word));
      condition = word == "elif" ? expressions() : nullptr;
    }
    end_block();
    return made;
  }

  std::vector<std::string> targets() {
    const bool brackets = take_sign("(");
    std::vector<std::string> names{name("a name")};
    while (take_sign(",")) {
      if (is_word("in") || is_sign("=") || is_sign(")")) break;
      names.push_back(name("a name"));
    }
    if (brackets) expect_sign(")");
    return names;
  }

  std::unique_ptr<Statement> for_block() {
    auto made = std::make_unique<For>();
    made->names = targets();
    expect_word("in");
    made->list = tuple_or(/*conditional=*/false);
    if (take_word("if")) made->condition = expression();
    if (is_word("recursive")) raise("'for ... recursive' is not supported");
    end_block();
    ++loops_;
    made->body = statements({"else", "endfor"});
    --loops_;
    next();
    if (take_word("else")) {
      end_block();
      made->otherwise = statements({"endfor"});
      next();
    }
    expect_word("endfor");
    end_block();
    return made;
  }

  std::unique_ptr<Statement> set_block() {
    auto made = std::make_unique<Set>();
    made->names = targets();
    if (made->names.size() == 1 && take_sign(".")) made->attribute = name("a name");
    if (take_sign("=")) {
      made->value = expressions();
      end_block();
      return made;
    }
    while (take_sign("|")) {
      std::string filter = filter_name();
      made->filters.emplace_back(std::move(filter), is_sign("(") ? arguments() : ArgumentList{});
    }
    end_block();
    made->body = statements({"endset"});
    close_with("endset");
    return made;
  }

  std::unique_ptr<Statement> macro_block() {
    auto made = std::make_unique<Macro>();
    made->name = name("the macro's name");
    expect_sign("(");
    until(")", [&] {
      std::string parameter = name("a parameter");
      made->parameters.emplace_back(std::move(parameter), take_sign("=") ? expression() : nullptr);
    });
    end_block();
    const int loops = std::exchange(loops_, 0);
    made->body = statements({"endmacro"});
    loops_ = loops;
    close_with("endmacro");
    return made;
  }

  // A tuple may stand without brackets in an output and behind '='.
  ExpressionPtr expressions() { return tuple_or(true); }
  ExpressionPtr tuple_or(bool conditional) {
    ExpressionPtr first = conditional ? expression() : or_();
    if (!is_sign(",")) return first;
    auto tuple = std::make_unique<ListOf>();
    tuple->tuple = true;
    tuple->items.push_back(std::move(first));
    while (take_sign(",")) {
      const TokenKind kind = peek().kind;
      if (kind == TokenKind::end_block || kind == TokenKind::end_output || is_sign(")")) break;
      tuple->items.push_back(conditional ? expression() : or_());
    }
    return tuple;
  }

  ExpressionPtr expression() {
    const Deeper deeper(depth_);
    ExpressionPtr value = or_();
    while (take_word("if")) {
      auto choice = std::make_unique<Choice>();
      choice->then = std::move(value);
      choice->condition = or_();
      if (take_word("else")) choice->otherwise = expression();
      value = std::move(choice);
    }
    return value;
  }

  ExpressionPtr binary(std::string sign, ExpressionPtr left, ExpressionPtr right) {
    auto made = std::make_unique<Binary>();
    made->sign = std::move(sign);
    made->left = std::move(left);
    made->right = std::move(right);
    return made;
  }
  ExpressionPtr unary(std::string sign, ExpressionPtr operand) {
    auto made = std::make_unique<Unary>();
    made->sign = std::move(sign);
    made->operand = std::move(operand);
    return made;
  }

  ExpressionPtr or_() {
    ExpressionPtr value = and_();
    while (take_word("or")) value = binary("or", std::move(value), and_());
    return value;
  }
  ExpressionPtr and_() {
    ExpressionPtr value = not_();
    while (take_word("and")) value = binary("and", std::move(value), not_());
    return value;
  }
  ExpressionPtr not_() {
    const Deeper deeper(depth_);
    if (take_word("not")) return unary("not", not_());
    return comparison();
  }

  ExpressionPtr comparison() {
    ExpressionPtr first = sum();
    std::vector<std::pair<std::string, ExpressionPtr>> rest;
    for (;;) {
      std::string sign;
      for (const char* each : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (sign.empty() && take_sign(each)) sign = each;
      }
      if (sign.empty() && take_word("in")) sign = "in";
      if (sign.empty() && is_word("not") && peek(1).text == "in") {
        next();
        next();
        sign = "not in";
      }
      if (sign.empty()) break;
      rest.emplace_back(sign, sum());
    }
    if (rest.empty()) return first;
    auto made = std::make_unique<Comparison>();
    made->first = std::move(first);
    made->rest = std::move(rest);
    return made;
  }

  ExpressionPtr sum() {
    ExpressionPtr value = joined();
    while (is_sign("+") || is_sign("-")) {
      std::string sign = next().text;
      value = binary(std::move(sign), std::move(value), joined());
    }
    return value;
  }
  ExpressionPtr joined() {
    ExpressionPtr value = product();
    while (take_sign("~")) value = binary("~", std::move(value), product());
    return value;
  }
  ExpressionPtr product() {
    ExpressionPtr value = power();
    while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
      std::string sign = next().text;
      value = binary(std::move(sign), std::move(value), power());
    }
    return value;
  }
  ExpressionPtr power() {
    ExpressionPtr value = signed_();
    while (take_sign("**")) value = binary("**", std::move(value), signed_());
    return value;
  }
  // Filters and tests stand behind the sign, as in Jinja: -1|abs is (-1)|abs.
  ExpressionPtr signed_(bool with_filters = true) {
    const Deeper deeper(depth_);
    ExpressionPtr value;
    if (is_sign("-") || is_sign("+")) {
      std::string sign = next().text;
      value = unary(std::move(sign), signed_(false));
    } else {
      value = primary();
    }
    return with_filters ? filtered(std::move(value)) : std::move(value);
  }

  ExpressionPtr primary() {
    const Token& token = next();
    ExpressionPtr value;
    if (token.kind == TokenKind::name) {
      value = word(token.text);
    } else if (token.kind == TokenKind::integer) {
      if (token.text.size() > 18) raise("a number beyond 64 bits");
      value = std::make_unique<Literal>(Value(static_cast<int64_t>(std::stoll(token.text))));
    } else if (token.kind == TokenKind::real) {
      value = std::make_unique<Literal>(Value(std::strtod(token.text.c_str(), nullptr)));
    } else if (token.kind == TokenKind::text) {
      std::string text = token.text;
      while (peek().kind == TokenKind::text) text += next().text;  // literals side by side are one
      value = std::make_unique<Literal>(Value(text));
    } else if (token.text == "(") {
      value = bracketed();
    } else if (token.text == "[") {
      auto list = std::make_unique<ListOf>();
      until("]", [&] { list->items.push_back(expression()); });
      value = std::move(list);
    } else if (token.text == "{") {
      auto dict = std::make_unique<DictOf>();
      until("}", [&] {
        ExpressionPtr key = expression();
        expect_sign(":");
        dict->entries.emplace_back(std::move(key), expression());
      });
      value = std::move(dict);
    } else {
      raise(fmt::format("got {}, expected a value", shown(token)));
    }
    return postfixed(std::move(value));
  }

  ExpressionPtr word(const std::string& text) {
    if (text == "true" || text == "True") return std::make_unique<Literal>(Value(true));
    if (text == "false" || text == "False") return std::make_unique<Literal>(Value(false));
    if (text == "none" || text == "None") return std::make_unique<Literal>(Value(None{}));
    static const std::set<std::string> reserved = {"if", "else", "and",  "or",    "not",
                                                   "in", "is",   "elif", "endif", "endfor"};
    if (reserved.contains(text)) raise(fmt::format("got '{}', expected a value", text));
    return std::make_unique<Name>(text);
  }

  ExpressionPtr bracketed() {
    auto tuple = std::make_unique<ListOf>();
    tuple->tuple = true;
    if (take_sign(")")) return tuple;
    ExpressionPtr first = expression();
    if (take_sign(")")) return first;
    tuple->items.push_back(std::move(first));
    while (!take_sign(")")) {
      expect_sign(",");
      if (take_sign(")")) break;
      tuple->items.push_back(expression());
    }
    return tuple;
  }

  ArgumentList arguments() {
    ArgumentList list;
    expect_sign("(");
    until(")", [&] {
      if (is_sign("*") || is_sign("**")) raise("'*' and '**' in a call are not supported");
      if (peek().kind == TokenKind::name && peek(1).kind == TokenKind::sign && peek(1).text == "=") {
        std::string argument = next().text;
        next();
        list.named.emplace_back(std::move(argument), expression());
      } else {
        if (!list.named.empty()) raise("an argument without name behind one with a name");
        list.values.push_back(expression());
      }
    });
    return list;
  }

  ExpressionPtr postfixed(ExpressionPtr value) {
    for (;;) {
      if (take_sign(".")) {
        const Token& token = next();
        if (token.kind == TokenKind::integer) {
          auto made = std::make_unique<Subscript>();
          made->object = std::move(value);
          made->key = std::make_unique<Literal>(Value(static_cast<int64_t>(std::stoll(token.text.substr(0, 18)))));
          value = std::move(made);
          continue;
        }
        if (token.kind != TokenKind::name) raise(fmt::format("got {}, expected a name behind '.'", shown(token)));
        auto made = std::make_unique<Attribute>();
        made->object = std::move(value);
        made->name = token.text;
        value = std::move(made);
      } else if (take_sign("[")) {
        value = subscripted(std::move(value));
      } else if (is_sign("(")) {
        auto made = std::make_unique<Call>();
        made->function = std::move(value);
        made->arguments = arguments();
        value = std::move(made);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscripted(ExpressionPtr object) {
    ExpressionPtr parts[3];
    int colons = 0;
    for (;;) {
      if (take_sign("]")) break;
      if (take_sign(":")) {
        if (++colons > 2) raise("a slice has at most three parts");
        continue;
      }
      if (parts[colons]) raise(fmt::format("got {}, expected ']'", shown(peek())));
      parts[colons] = expression();
    }
    if (colons == 0) {
      if (!parts[0]) raise("an empty subscript");
      auto made = std::make_unique<Subscript>();
      made->object = std::move(object);
      made->key = std::move(parts[0]);
      return made;
    }
    auto made = std::make_unique<Slice>();
    made->object = std::move(object);
    made->start = std::move(parts[0]);
    made->stop = std::move(parts[1]);
    made->step = std::move(parts[2]);
    return made;
  }

  std::string filter_name() {
    std::string filter = name("a filter");
    if (!is_filter(filter)) raise(fmt::format("the filter '{}' is not supported", filter));
    return filter;
  }

  ExpressionPtr filtered(ExpressionPtr value) {
    for (;;) {
      if (take_sign("|")) {
        auto made = std::make_unique<Filtered>();
        made->name = filter_name();
        made->value = std::move(value);
        if (is_sign("(")) made->arguments = arguments();
        value = std::move(made);
      } else if (take_word("is")) {
        auto made = std::make_unique<Tested>();
        made->negated = take_word("not");
        made->name = name("a test");
        if (!is_test(made->name)) raise(fmt::format("the test 'is {}' is not supported", made->name));
        made->value = std::move(value);
        if (is_sign("(")) {
          made->arguments = arguments();
        } else if (begins_operand()) {
          made->arguments.values.push_back(primary());  // x is divisibleby 3
        }
        value = std::move(made);
      } else if (is_sign("(")) {
        auto made = std::make_unique<Call>();
        made->function = std::move(value);
        made->arguments = arguments();
        value = std::move(made);
      } else {
        return value;
      }
    }
  }

  // What may stand behind the name of a test without brackets.
  bool begins_operand() const {
    const Token& token = peek();
    if (token.kind == TokenKind::integer || token.kind == TokenKind::real || token.kind == TokenKind::text) return true;
    if (token.kind == TokenKind::sign) return token.text == "[" || token.text == "{";
    static const std::set<std::string> others = {"else", "or", "and", "is", "in", "not", "if", "recursive"};
    return token.kind == TokenKind::name && !others.contains(token.text);
  }

  std::vector<Token> tokens_;
  int& line_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Body parse(const std::string& source, int& line) {
  return Parser(tokenise(source, line), line).run();
}

}  // namespace introspect::jinja
