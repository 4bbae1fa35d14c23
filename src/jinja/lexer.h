// A template's text as tokens, white space control already done.
#pragma once

#include <string>
#include <vector>

namespace introspect::jinja {

enum class TokenKind { data, begin_block, end_block, begin_output, end_output, name, integer, real, text, sign, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  // of text: the characters meant, escapes resolved
  int line = 0;
};

// Throws Raised; `line` is then the line of the fault.
std::vector<Token> tokenise(const std::string& source, int& line);

}  // namespace introspect::jinja
