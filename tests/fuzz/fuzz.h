// A small mutation fuzzer for our readers: no instrumentation and no special compiler, so that it runs with every
// test run. See README.md.
#pragma once

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

struct FuzzResult {
  int64_t runs = 0;
  int64_t accepted = 0;  // inputs that the reader took without an Error
  std::string failure;   // empty, or what was thrown and in which file the input lies
};

inline double fuzz_seconds() {
  const char* text = std::getenv("INTROSPECT_FUZZ_SECONDS");
  return text ? std::atof(text) : 5;
}

inline uint64_t fuzz_seed() {
  const char* text = std::getenv("INTROSPECT_FUZZ_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

// One change of a text.
inline void mutate_once(std::string& text, const std::vector<std::string>& seeds, Random& random) {
  // What parsers stumble over: limits of number types, signs, exponents, broken escapes and UTF-8, brackets.
  static const std::vector<std::string> interesting = {"0",
                                                       "-1",
                                                       "1e999",
                                                       "-0",
                                                       "2147483648",
                                                       "9223372036854775807",
                                                       "9223372036854775808",
                                                       "1e-5",
                                                       "nan",
                                                       "inf",
                                                       "\\u0000",
                                                       "\\ud800",
                                                       "18446744073709551615",
                                                       "18446744073709551616",
                                                       "\"",
                                                       "\\",
                                                       "{",
                                                       "}",
                                                       "[",
                                                       "]",
                                                       ",",
                                                       ":",
                                                       "\xff",
                                                       "\xc3",
                                                       "\xed\xa0\x80",
                                                       "\xef\xbb\xbf",
                                                       "null",
                                                       "true",
                                                       "\n",
                                                       "\r\n",
                                                       "=",
                                                       ".",
                                                       "#",
                                                       "'''",
                                                       "\"\"\""};
  const auto place = [&](size_t size) { return static_cast<size_t>(random.below(size + 1)); };
  // Pieces are short most of the time: one of up to 16 bytes changes a field, a long one the whole.
  const auto length = [&](size_t limit) {
    const size_t most = random.below(4) == 0 ? limit : std::min<size_t>(limit, 16);
    return most == 0 ? 0 : static_cast<size_t>(random.below(most) + 1);
  };
  const size_t at = place(text.size());
  switch (random.below(9)) {
    case 0:  // one bit
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random.below(8)));
      break;
    case 1:  // one byte
      if (at < text.size()) text[at] = static_cast<char>(random.below(256));
      break;
    case 2:  // the end is missing
      text.resize(at);
      break;
    case 3:  // a piece is missing
      text.erase(at, length(text.size() - at));
      break;
    case 4: {  // a piece is there twice or thrice
      const std::string piece = text.substr(at, length(text.size() - at));
      for (uint64_t count = random.below(3) + 1; count > 0; --count) text.insert(at, piece);
      break;
    }
    case 5: {  // a piece of another seed
      const std::string& other = seeds[random.below(seeds.size())];
      const size_t from = place(other.size());
      text.insert(at, other.substr(from, length(other.size() - from)));
      break;
    }
    case 6:  // something that parsers stumble over, put in
      text.insert(at, interesting[random.below(interesting.size())]);
      break;
    case 7: {  // or in the place of a number
      const size_t digit = text.find_first_of("0123456789", at);
      if (digit == std::string::npos) break;
      const size_t end = std::min(text.find_first_not_of("0123456789", digit), text.size());
      text.replace(digit, end - digit, interesting[random.below(interesting.size())]);
      break;
    }
    default: {  // a binary number of 8 bytes at a limit
      if (text.size() < 8) break;
      static constexpr uint64_t kNumbers[] = {0, 1, 8, 100'000'000, uint64_t{1} << 31, uint64_t{1} << 63, ~uint64_t{0}};
      const uint64_t number = kNumbers[random.below(std::size(kNumbers))] + random.below(3) - 1;
      const size_t start = random.below(2) == 0 ? 0 : random.below(text.size() - 7);
      for (size_t i = 0; i < 8; ++i) text[start + i] = static_cast<char>(number >> (8 * i));
    }
  }
}

// Feeds `seeds`, unchanged, and then mutations of them to `read`, for `seconds`. A failure is any exception but
// introspect::Error, or a single input that takes longer than ten seconds; it ends the run, and the input goes to
// fuzz_<name>_failure.bin in the working folder. A crash ends the process before that: with INTROSPECT_FUZZ_KEEP set,
// each input is written to fuzz_<name>_last.bin before it is read.
inline FuzzResult run_fuzzer(const std::string& name, const std::vector<std::string>& seeds, double seconds,
                             const std::function<void(std::string_view)>& read) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); };
  const bool keep = std::getenv("INTROSPECT_FUZZ_KEEP") != nullptr;
  const auto save = [](const std::string& path, const std::string& input) {
    std::ofstream(path, std::ios::binary).write(input.data(), static_cast<std::streamsize>(input.size()));
  };
  FuzzResult result;
  Random random(fuzz_seed(), "fuzz " + name);
  const auto start = Clock::now();
  for (size_t run = 0; run < seeds.size() || since(start) < seconds; ++run) {
    std::string input = run < seeds.size() ? seeds[run] : seeds[random.below(seeds.size())];
    if (run >= seeds.size()) {
      for (uint64_t count = random.below(8) + 1; count > 0; --count) mutate_once(input, seeds, random);
    }
    if (keep) save("fuzz_" + name + "_last.bin", input);
    std::string problem;
    const auto input_start = Clock::now();
    try {
      read(input);
      ++result.accepted;
    } catch (const Error&) {
      // the way a reader is to refuse
    } catch (const std::exception& error) {
      problem = std::string("threw ") + error.what();
    } catch (...) {
      problem = "threw something that is no std::exception";
    }
    if (since(input_start) > 10) problem = "took longer than ten seconds";
    ++result.runs;
    if (!problem.empty()) {
      const std::string path = "fuzz_" + name + "_failure.bin";
      save(path, input);
      result.failure = fmt::format("{}: {}; input {} of {} bytes is in {}", name, problem, run, input.size(), path);
      return result;
    }
  }
  return result;
}

}  // namespace introspect
