#include "base/random.h"

#include "base/temporary_folder.h"

#include <array>
#include <cmath>
#include <limits>
#include <set>

namespace introspect {
namespace {

// From an independent implementation in Python. Frozen: a change of these numbers changes every result that was ever
// published with this tool.
TEST(Random, KnownValues) {
  Random random(0, "shuffle");
  std::vector<uint64_t> words;
  for (int i = 0; i < 4; ++i) words.push_back(random.next());
  EXPECT_EQ(words, (std::vector<uint64_t>{23656776500386431u, 425748358312647440u, 8369448284522645920u,
                                          14584853981594138584u}));
  Random normal(42, "noise");
  EXPECT_NEAR(normal.normal(), 0.004825903496334447, 1e-14);
  EXPECT_NEAR(normal.normal(), 1.951813987051609, 1e-14);
}

// The authors' reference: from the state 1, 2, 3, 4 the first word is 41943041, the second 58720359.
TEST(Random, IsXoshiro256PlusPlus) {
  Random random(0, "");
  random.restore("0000000000000001 0000000000000002 0000000000000003 0000000000000004 0 0000000000000000");
  EXPECT_EQ(random.next(), 41943041u);
  EXPECT_EQ(random.next(), 58720359u);
  EXPECT_EQ(random.next(), 3588806011781223u);
  EXPECT_EQ(random.next(), 3591011842654386u);
}

TEST(Random, StreamsDiffer) {
  std::set<uint64_t> first;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{2}, ~uint64_t{0}}) {
    for (const char* name : {"", "a", "b", "ab", "ba", "data", "noise"}) first.insert(Random(seed, name).next());
  }
  EXPECT_EQ(first.size(), 28u);
  EXPECT_EQ(Random(7, "x").next(), Random(7, "x").next());
}

TEST(Random, BelowIsUniform) {
  Random random(1, "below");
  std::array<int, 7> count = {};
  for (int i = 0; i < 70'000; ++i) ++count.at(random.below(7));
  double chi_square = 0;
  for (const int each : count) chi_square += (each - 10'000.0) * (each - 10'000.0) / 10'000.0;
  EXPECT_LT(chi_square, 22.5);  // 6 degrees of freedom: exceeded once in 1000 seeds
  EXPECT_EQ(random.below(1), 0u);
  // A bound for which plain "modulo" would be badly off: two thirds of 2^64.
  const uint64_t bound = 0xAAAAAAAAAAAAAAAA;
  int low = 0;
  for (int i = 0; i < 30'000; ++i) low += random.below(bound) < bound / 2;
  EXPECT_NEAR(low, 15'000, 450);
  EXPECT_TRUE(holds(error_of([&] { random.below(0); }), "got bound 0"));
}

TEST(Random, UniformAndNormalMoments) {
  Random random(2, "moments");
  double sum = 0, square = 0, fourth = 0, uniform = 0, product = 0, before = 0;
  constexpr int kCount = 200'000;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.uniform(), x = random.normal();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform += u, sum += x, square += x * x, fourth += x * x * x * x, product += x * before;
    before = x;
  }
  EXPECT_NEAR(uniform / kCount, 0.5, 0.003);
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(square / kCount, 1, 0.015);
  EXPECT_NEAR(fourth / kCount, 3, 0.12);
  EXPECT_NEAR(product / kCount, 0, 0.01);  // neighbours, also the two of one Box-Muller pair, do not go together
}

TEST(Random, WeightedFollowsItsWeights) {
  Random random(3, "weights");
  const std::vector<double> weights = {0, 1, 0, 3, 0};
  std::array<int, 5> count = {};
  for (int i = 0; i < 40'000; ++i) ++count.at(random.weighted(weights));
  EXPECT_EQ(count[0] + count[2] + count[4], 0);
  EXPECT_NEAR(count[1], 10'000, 350);
  const double infinite = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& bad :
       {std::vector<double>{}, {0, 0}, {1, -1}, {std::nan("")}, {1, infinite}, {1e308, 1e308}}) {
    EXPECT_TRUE(holds(error_of([&] { random.weighted(bad); }), "[random] weighted"));
  }
}

TEST(Random, ShuffleKeepsItemsAndIsFair) {
  Random random(4, "shuffle");
  std::array<std::array<int, 4>, 4> count = {};  // item, place
  for (int i = 0; i < 24'000; ++i) {
    std::vector<size_t> items = {0, 1, 2, 3};
    random.shuffle(items);
    EXPECT_EQ(std::set<size_t>(items.begin(), items.end()).size(), 4u);
    for (size_t place = 0; place < 4; ++place) ++count[items[place]][place];
  }
  for (const auto& places : count) {
    for (const int each : places) EXPECT_NEAR(each, 6000, 280);
  }
  std::vector<int> none;
  random.shuffle(none);
}

TEST(Random, ResumesExactly) {
  Random random(5, "resume");
  for (int i = 0; i < 11; ++i) random.normal();  // an odd count leaves a spare number
  const std::string state = random.state();
  std::vector<double> expected, got;
  for (int i = 0; i < 5; ++i) expected.push_back(random.normal());
  expected.push_back(random.uniform());
  Random other(99, "other");
  other.restore(state);
  EXPECT_EQ(other.state(), state);
  for (int i = 0; i < 5; ++i) got.push_back(other.normal());
  got.push_back(other.uniform());
  EXPECT_EQ(got, expected);
}

TEST(Random, RefusesBrokenStates) {
  Random random(6, "broken");
  const std::string good = random.state();
  const std::string zeros = "0000000000000000 0000000000000000 0000000000000000 0000000000000000 0 0000000000000000";
  std::string letter = good, capital = good, digit = good, blank = good;
  letter[3] = 'g', capital[3] = 'A', digit[68] = '2', blank[16] = '_';
  for (const std::string& bad : {std::string(), good + " ", good.substr(1), letter, capital, digit, blank, zeros}) {
    EXPECT_TRUE(holds(error_of([&] { random.restore(bad); }), "[random] got state")) << bad;
  }
  EXPECT_EQ(random.state(), good);  // a refused state changes nothing
}

}  // namespace
}  // namespace introspect
