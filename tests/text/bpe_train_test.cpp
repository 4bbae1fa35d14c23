// The trainer: what it learns, that its files read back, and that nothing depends on the order of the texts.
#include "text/bpe_train.h"

#include "base/error.h"
#include "base/random.h"
#include "text/bpe_merge.h"
#include "text/tokenizer.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace introspect {
namespace {

BpeTrainSettings small_settings(int64_t vocab_size) {
  BpeTrainSettings settings;
  settings.vocab_size = vocab_size;
  settings.special_tokens = {"<|bos|>", "<|eos|>"};
  settings.bos_token = "<|bos|>";
  settings.eos_token = "<|eos|>";
  return settings;
}

Tokenizer reopened(const BpeTrainer& trainer) {
  return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
}

TEST(BpeTrain, MakesFrequentWordsOneToken) {
  BpeTrainer trainer(small_settings(300));
  for (int i = 0; i < 50; ++i) trainer.add("The capital of France is Paris. The river of Paris is the Seine.");
  trainer.train();
  const Tokenizer tokenizer = reopened(trainer);
  for (const char* word : {" France", " Paris", " is", " of"}) {
    EXPECT_EQ(tokenizer.encode_plain(word).size(), 1) << word;
  }
  EXPECT_EQ(tokenizer.vocab_size(), trainer.vocab_size());
  EXPECT_LE(tokenizer.vocab_size(), 300);
}

TEST(BpeTrain, PutsSpecialTokensLastAndBosFirst) {
  BpeTrainer trainer(small_settings(260));
  trainer.add("aaaa bbbb aaaa bbbb");
  trainer.train();
  ASSERT_EQ(trainer.vocab_size(), 260);
  const Tokenizer tokenizer = reopened(trainer);
  EXPECT_EQ(tokenizer.bos(), 258);
  EXPECT_EQ(tokenizer.eos(), 259);
  EXPECT_EQ(tokenizer.pad(), std::nullopt);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.encode("<|eos|>"), (std::vector<int64_t>{258, 259}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("bb<|eos|>a"), true), "bba");
}

TEST(BpeTrain, TakesNoWordsFromSpecialTokens) {
  BpeTrainer with(small_settings(400)), without(small_settings(400));
  for (int i = 0; i < 9; ++i) {
    with.add("once upon a time<|eos|>");
    without.add("once upon a time");
  }
  with.train();
  without.train();
  EXPECT_EQ(with.merges(), without.merges());
}

TEST(BpeTrain, WeightIsRepetitionAndOrderIsNothing) {
  const std::vector<std::string> texts = {"she sells sea shells", "by the sea shore", "the shells she sells"};
  BpeTrainer once(small_settings(320)), again(small_settings(320));
  for (int i = 0; i < 3; ++i) {
    for (const auto& text : texts) once.add(text);
  }
  for (size_t i = texts.size(); i-- > 0;) again.add(texts[i], 3);
  once.train();
  again.train();
  EXPECT_EQ(once.merges(), again.merges());
  EXPECT_FALSE(once.merges().empty());
}

// The plain way: count all pairs anew before every merge.
std::vector<std::pair<int32_t, int32_t>> slow_merges(std::vector<text::CountedWord> words, int64_t wanted,
                                                     int64_t smallest) {
  std::vector<std::pair<int32_t, int32_t>> merges;
  while (static_cast<int64_t>(merges.size()) < wanted) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (const auto& word : words) {
      for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        counts[{word.symbols[i], word.symbols[i + 1]}] += word.count;
      }
    }
    std::pair<int32_t, int32_t> best{-1, -1};
    int64_t most = smallest - 1;
    for (const auto& [pair, count] : counts) {
      if (count > most) {
        most = count;
        best = pair;
      }
    }
    if (best.first < 0) break;
    const int32_t fresh = 256 + static_cast<int32_t>(merges.size());
    for (auto& word : words) {
      std::vector<int32_t> merged;
      for (size_t i = 0; i < word.symbols.size(); ++i) {
        const bool both =
            i + 1 < word.symbols.size() && word.symbols[i] == best.first && word.symbols[i + 1] == best.second;
        merged.push_back(both ? fresh : word.symbols[i]);
        i += both;
      }
      word.symbols = merged;
    }
    merges.push_back(best);
  }
  return merges;
}

TEST(BpeTrain, CountsAsThePlainWayDoes) {
  for (int seed = 0; seed < 40; ++seed) {
    Random random(static_cast<uint64_t>(seed), "bpe words");
    std::vector<text::CountedWord> words(30);
    for (auto& word : words) {
      word.count = static_cast<int64_t>(random.below(5)) + 1;
      for (uint64_t i = 0, length = random.below(14); i < length; ++i) {
        word.symbols.push_back('a' + static_cast<int32_t>(random.below(3)));
      }
    }
    EXPECT_EQ(text::learn_merges(words, 40, 256, 2), slow_merges(words, 40, 2)) << "seed " << seed;
  }
}

TEST(BpeTrain, WritesAFolder) {
  const fs::path folder = fs::path(testing::TempDir()) / "bpe_train_folder";
  BpeTrainer trainer(small_settings(280));
  for (int i = 0; i < 5; ++i) trainer.add("low lower lowest");
  trainer.train();
  trainer.write(folder);
  const Tokenizer tokenizer = Tokenizer::open(folder);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode_plain("lower \xE2\x82\xAC"), false), "lower \xE2\x82\xAC");
  fs::remove_all(folder);
}

TEST(BpeTrain, RefusesSettingsThatCannotBe) {
  EXPECT_THROW(BpeTrainer(small_settings(257)), Error);
  BpeTrainSettings twice = small_settings(300);
  twice.special_tokens = {"<|bos|>", "<|bos|>", "<|eos|>"};
  EXPECT_THROW(BpeTrainer{twice}, Error);
  BpeTrainSettings missing = small_settings(300);
  missing.pad_token = "<|pad|>";
  EXPECT_THROW(BpeTrainer{missing}, Error);
  BpeTrainer untrained(small_settings(300));
  EXPECT_THROW(untrained.tokenizer_json(), Error);
}

}  // namespace
}  // namespace introspect
