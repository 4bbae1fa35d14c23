#include "text/utf8.h"

#include <array>
#include <cstring>
#include <utf8proc.h>

namespace introspect::text {

namespace {

struct Alphabet {
  std::array<uint32_t, 256> letter{};
  std::array<int16_t, 0x144> byte{};

  Alphabet() {
    byte.fill(-1);
    uint32_t next = 0x100;  // bytes that do not print get the characters from U+0100 on, in order
    for (int value = 0; value < 256; ++value) {
      const bool prints = (value >= 0x21 && value <= 0x7E) || (value >= 0xA1 && value <= 0xAC) || value >= 0xAE;
      letter[value] = prints ? static_cast<uint32_t>(value) : next++;
      byte[letter[value]] = static_cast<int16_t>(value);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

bool is_ascii_word(const char* bytes) {  // eight bytes at once
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return (word & 0x8080808080808080ULL) == 0;
}

}  // namespace

Character first_character(std::string_view text) {
  const auto byte = [text](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  if (lead < 0xC2 || lead > 0xF4) return {0, 1, false};
  // the second byte has a narrower range after some leads: no overlong forms, no surrogates, nothing past U+10FFFF
  const uint32_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint32_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < lowest || byte(1) > highest) return {0, 1, false};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (uint32_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return {0, i, false};
  }
  return known_character(text.data());
}

bool is_valid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (at + 8 <= text.size() && is_ascii_word(text.data() + at)) {
      at += 8;
      continue;
    }
    const Character character = first_character(text.substr(at));
    if (!character.valid) return false;
    at += character.length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.valid) {
      valid.append(text.substr(0, character.length));
    } else {
      valid.append("\xEF\xBF\xBD");
    }
    text.remove_prefix(character.length);
  }
  return valid;
}

void append_code_point(std::string& text, uint32_t code_point) {
  const auto tail = [code_point](int shift) { return static_cast<char>(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += {static_cast<char>(0xC0 | code_point >> 6), tail(0)};
  } else if (code_point < 0x10000) {
    text += {static_cast<char>(0xE0 | code_point >> 12), tail(6), tail(0)};
  } else {
    text += {static_cast<char>(0xF0 | code_point >> 18), tail(12), tail(6), tail(0)};
  }
}

size_t count_characters(std::string_view valid_text) {
  size_t count = 0;
  for (const char byte : valid_text) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  return count;
}

bool is_white_space(uint32_t code_point) {
  return (code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x20 || code_point == 0x85 || code_point == 0xA0 ||
         code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x2028 ||
         code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F || code_point == 0x3000;
}

bool is_numeric(uint32_t code_point) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool is_word(uint32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Join_Control, and the symbols that are Alphabetic: letters in circles and squares
  return code_point == 0x200C || code_point == 0x200D || (code_point >= 0x24B6 && code_point <= 0x24E9) ||
         (code_point >= 0x1F130 && code_point <= 0x1F149) || (code_point >= 0x1F150 && code_point <= 0x1F169) ||
         (code_point >= 0x1F170 && code_point <= 0x1F189);
}

bool is_punctuation(uint32_t code_point) {
  if (code_point < 0x80) {
    return (code_point >= '!' && code_point <= '/') || (code_point >= ':' && code_point <= '@') ||
           (code_point >= '[' && code_point <= '`') || (code_point >= '{' && code_point <= '~');
  }
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

std::string lower_case(uint32_t code_point) {
  std::string lower;
  if (code_point == 0x130) return "i\xCC\x87";  // the one character whose lower case is two
  append_code_point(lower, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))));
  return lower;
}

uint32_t byte_to_alphabet(unsigned char byte) {
  return alphabet().letter[byte];
}

int alphabet_to_byte(uint32_t code_point) {
  return code_point < alphabet().byte.size() ? alphabet().byte[code_point] : -1;
}

void append_alphabet(std::string& text, std::string_view bytes) {
  for (const char byte : bytes) append_code_point(text, byte_to_alphabet(static_cast<unsigned char>(byte)));
}

bool append_alphabet_bytes(std::string& bytes, std::string_view token) {
  const size_t before = bytes.size();
  while (!token.empty()) {
    const Character character = first_character(token);
    const int byte = character.valid ? alphabet_to_byte(character.code_point) : -1;
    if (byte < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(byte);
    token.remove_prefix(character.length);
  }
  return true;
}

}  // namespace introspect::text
