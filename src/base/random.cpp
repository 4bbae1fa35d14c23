#include "base/random.h"

#include "base/error.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace introspect {

namespace {

// splitmix64: turns any seed, also 0 and 1, into words that look random, as xoshiro's authors ask for.
uint64_t splitmix(uint64_t& state) {
  uint64_t word = state += 0x9e3779b97f4a7c15;
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
  word = (word ^ word >> 27) * 0x94d049bb133111eb;
  return word ^ word >> 31;
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return hash;
}

}  // namespace

Random::Random(uint64_t seed, std::string_view name) {
  // The seed is mixed before the name comes in, so that no pair of seed and name cancels another one out.
  uint64_t state = splitmix(seed) ^ fnv1a(name);
  for (uint64_t& word : word_) word = splitmix(state);
}

// xoshiro256++ 1.0 (Blackman and Vigna, public domain).
uint64_t Random::next() {
  const uint64_t result = std::rotl(word_[0] + word_[3], 23) + word_[0];
  const uint64_t shifted = word_[1] << 17;
  word_[2] ^= word_[0];
  word_[3] ^= word_[1];
  word_[1] ^= word_[2];
  word_[0] ^= word_[3];
  word_[2] ^= shifted;
  word_[3] = std::rotl(word_[3], 45);
  return result;
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

uint64_t Random::below(uint64_t bound) {
  if (bound == 0) fail("random", "below: got bound 0, expected at least 1");
  // Numbers under 2^64 mod bound are drawn again: the rest is a whole number of rounds through [0, bound).
  const uint64_t refused = (0 - bound) % bound;
  uint64_t word = next();
  while (word < refused) word = next();
  return word % bound;
}

// Box-Muller, two numbers at a time; std::normal_distribution differs from library to library.
double Random::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));  // 1 - uniform() is in (0, 1]
  const double angle = 2 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

size_t Random::weighted(const std::vector<double>& weights) {
  double total = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0) || std::isinf(weights[i])) {
      fail("random", fmt::format("weighted: weight {} is {}, expected a finite number of at least 0", i, weights[i]));
    }
    total += weights[i];
  }
  if (!(total > 0) || std::isinf(total)) {
    fail("random",
         fmt::format("weighted: the sum of {} weights is {}, expected more than 0 and finite", weights.size(), total));
  }
  double left = uniform() * total;
  size_t last = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    if (left < weights[i]) return i;
    left -= weights[i];
    last = i;
  }
  return last;  // rounding may leave a rest: it goes to the last weight that is not 0
}

std::string Random::state() const {
  // The spare number by its bits, since a decimal form could round it.
  return fmt::format("{:016x} {:016x} {:016x} {:016x} {} {:016x}", word_[0], word_[1], word_[2], word_[3],
                     has_spare_ ? 1 : 0, std::bit_cast<uint64_t>(spare_));
}

void Random::restore(const std::string& state) {
  // Exactly what state() writes: 4 words, a digit, a word, with single blanks between.
  constexpr size_t kLength = 4 * 17 + 2 + 16;
  uint64_t read[6] = {};
  bool good = state.size() == kLength;
  size_t at = 0;
  for (int field = 0; good && field < 6; ++field) {
    const size_t end = at + (field == 4 ? 1 : 16);
    for (; at < end; ++at) {
      const char letter = state[at];
      const bool digit = letter >= '0' && letter <= '9', hexadecimal = letter >= 'a' && letter <= 'f';
      good = good && (digit || hexadecimal);
      read[field] = read[field] << 4 | static_cast<uint64_t>(digit ? letter - '0' : letter - 'a' + 10);
    }
    if (field < 5) good = good && state[at++] == ' ';
  }
  // xoshiro never leaves the state of four zeros.
  good = good && read[4] <= 1 && (read[0] | read[1] | read[2] | read[3]) != 0;
  if (!good) fail("random", fmt::format("got state '{}', expected the text that state() gives", state.substr(0, 120)));
  for (int i = 0; i < 4; ++i) word_[i] = read[i];
  has_spare_ = read[4] == 1;
  spare_ = std::bit_cast<double>(read[5]);
}

}  // namespace introspect
