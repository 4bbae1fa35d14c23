// UTF-8 and the few Unicode properties that tokenizers ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace introspect::text {

// What stands at the beginning of `text` (not empty): a character of `length` bytes or, if `valid` is false, the
// longest run of bytes that one U+FFFD replaces (Unicode 15, 3.9, "maximal subpart"; what Rust and Python do).
struct Character {
  uint32_t code_point = 0;
  uint32_t length = 0;
  bool valid = false;
};
Character first_character(std::string_view text);

// The character at `bytes`, which must be valid UTF-8; nothing is checked.
inline Character known_character(const char* bytes) {
  const auto byte = [bytes](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2, true};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3, true};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4, true};
}

bool is_valid_utf8(std::string_view text);
std::string replace_invalid_utf8(std::string_view text);  // every maximal invalid subpart becomes U+FFFD
void append_code_point(std::string& text, uint32_t code_point);
size_t count_characters(std::string_view valid_text);

bool is_white_space(uint32_t code_point);  // the property White_Space
bool is_numeric(uint32_t code_point);      // categories Nd, Nl, No
bool is_word(uint32_t code_point);         // \w of Rust's regex: Alphabetic, M, Nd, Pc, Join_Control
bool is_punctuation(uint32_t code_point);  // categories P*, and the ASCII punctuation
std::string lower_case(uint32_t code_point);

// GPT-2's alphabet: every byte has a printable character, so that a vocabulary of bytes can be written as text.
uint32_t byte_to_alphabet(unsigned char byte);
int alphabet_to_byte(uint32_t code_point);  // -1: not a letter of the alphabet
void append_alphabet(std::string& text, std::string_view bytes);
// The bytes that `token` spells in the alphabet; false if some character is not in it (`bytes` is then unchanged).
bool append_alphabet_bytes(std::string& bytes, std::string_view token);

}  // namespace introspect::text
