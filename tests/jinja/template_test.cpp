// Templates against Jinja2 itself (cases.json), and what is refused, with its line.
#include "jinja/template.h"

#include "base/error.h"
#include "base/json.h"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect::jinja {
namespace {

std::string rendered(const std::string& source, const Dict& variables = {}) {
  return Template(source, "t.jinja").render(variables);
}

std::string error_of(const std::string& source, const Dict& variables = {}) {
  try {
    return "no error but: " + rendered(source, variables);
  } catch (const Error& error) {
    return error.what();
  }
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Template, AgreesWithJinja2) {
  const Json file = read_json(INTROSPECT_SOURCE_DIR "/tests/jinja/cases.json");
  Dict variables;
  for (const auto& [name, value] : file.at("variables").items()) {
    variables.emplace_back(Value(name), Value::from_json(value));
  }
  int errors = 0;
  for (const Json& each : file.at("cases")) {
    const std::string source = each.at("template").get<std::string>();
    if (each.at("expected").is_null()) {
      ++errors;
      EXPECT_THROW(rendered(source, variables), Error) << source;
    } else {
      EXPECT_EQ(rendered(source, variables), each.at("expected").get<std::string>()) << source;
    }
  }
  EXPECT_GT(file.at("cases").size(), 150u);
  EXPECT_GT(errors, 15);
}

TEST(Template, ErrorsNameTheLine) {
  EXPECT_TRUE(holds(error_of("a\n\n{{ x.y }}"), "'x' is undefined (t.jinja:3)"));
  EXPECT_TRUE(holds(error_of("{% if true %}\n{% for x in [1] %}\n{{ 1 + 'a' }}{% endfor %}{% endif %}"),
                    "unsupported operand types for +: 'int' and 'str' (t.jinja:3)"));
  EXPECT_TRUE(holds(error_of("\n{% include 'a' %}"), "the statement 'include' is not supported (t.jinja:2)"));
  EXPECT_TRUE(holds(error_of("{{ x | wild }}"), "the filter 'wild' is not supported (t.jinja:1)"));
  EXPECT_TRUE(holds(error_of("{{ x is wild }}"), "the test 'is wild' is not supported"));
  EXPECT_TRUE(holds(error_of("\n{% if true %}\n"), "the template ends, expected '{% endif %}'"));
  EXPECT_TRUE(holds(error_of("{{ 'abc }}"), "a string is not closed"));
  EXPECT_TRUE(holds(error_of("{{ (1] }}"), "unexpected ']'"));
  EXPECT_TRUE(holds(error_of("{% break %}"), "'break' outside of a loop"));
  EXPECT_TRUE(holds(error_of("{{ f(*x) }}"), "are not supported"));
  EXPECT_TRUE(holds(error_of("{{ raise_exception('Roles must alternate') }}"), "Roles must alternate"));
  EXPECT_TRUE(holds(error_of("{{ [1].append(2) }}"), "templates may not change a list"));
}

TEST(Template, GenerationBlocksAreTheirBody) {
  EXPECT_EQ(rendered("a{% generation %}b{% endgeneration %}c"), "abc");
}

TEST(Template, MacrosSeeWhereTheyWereDefined) {
  // as in Jinja2 a macro does not see the loop variable of its caller
  EXPECT_EQ(rendered("{% macro m() %}{{ x is defined }}{% endmacro %}{% for x in [1] %}{{ m() }}{% endfor %}"),
            "False");
}

TEST(Template, TheTimeIsNow) {
  const std::string year = rendered("{{ strftime_now('%Y') }}");
  EXPECT_EQ(year.size(), 4u);
  EXPECT_GT(year, "2023");
}

TEST(Template, HostileOnesEnd) {
  const std::string deep(300, '(');
  EXPECT_TRUE(holds(error_of("{{ " + deep + "1" + std::string(300, ')') + " }}"), "more than 200 deep"));
  EXPECT_TRUE(holds(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "more than 100 macros"));
  EXPECT_TRUE(holds(error_of("{% set x = range(99999) %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}"),
                    "10 million steps"));
  EXPECT_TRUE(holds(error_of("{{ 'a' * 999999999999 }}"), "16 million"));
  EXPECT_TRUE(holds(error_of("{% set s = 'a' * 9000000 %}{% for i in range(99) %}{{ s }}{% endfor %}"), "64 MiB"));
  EXPECT_TRUE(holds(error_of("{{ 9223372036854775807 }}"), "beyond 64 bits"));
  EXPECT_TRUE(holds(error_of("{{ 999999999999999999 * 999999 }}"), "beyond 64 bits"));
  EXPECT_TRUE(holds(error_of("{{ range(1000000) }}"), "100,000"));
  EXPECT_TRUE(holds(error_of("{{ 'a' | indent(2147483648) }}"), "1,000"));
  EXPECT_TRUE(holds(error_of("{{ 1e300 | int }}"), "beyond 64 bits"));
  EXPECT_TRUE(holds(error_of("{{ 3 ** 999999999999 }}"), "beyond 64 bits"));
  EXPECT_EQ(
      rendered("{{ (-1) ** 999999999999 }} {{ (-1) ** 4 }} {{ 0 ** 0 }} {{ 0 ** 5 }} {{ 1 ** 99 }} {{ 2 ** 10 }}"),
      "-1 1 1 0 1 1024");
}

}  // namespace
}  // namespace introspect::jinja
