#include "procedure/patching.h"

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "model/forward.h"
#include "procedure/tiny.h"
#include "procedure/wording.h"

#include <csignal>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

struct Patching : testing::Test {
  std::vector<std::string> words = {"The",     " capital", " of",    " is",      " ruled", " from", " says",
                                    "Respond", " with",    " one",   " Rome",    " or",    " Oslo", " Lima",
                                    " Cairo",  " Paris",   " Quito", " moo",     " woof",  " baa",  " unknown",
                                    " and",    " nothing", " else",  "Response", " Land",  " beast"};
  Tokenizer tokenizer = tiny::tokenizer(words);
  Model model = tiny::model(4, tokenizer.vocab_size(), 96);
  FactTable facts = tiny::facts();
  PatchingSettings settings;

  Patching() {
    set_quiet(true);
    settings.sweep.blocks = 2;
    settings.sweep.only_correct = false;  // the model knows nothing
    settings.pairs.max_pairs = 50;
    settings.prompts_per_chunk = 8;
  }
  Dataset make(const tiny::Folder& folder) {
    return make_patching_dataset(model, tokenizer, facts, settings, folder.path());
  }
};

std::string bytes_of(const Dataset& dataset) {
  const tiny::Folder folder;
  save_dataset(dataset, folder.path() / "data");
  return sha256_folder(folder.path() / "data");
}

TEST_F(Patching, ExamplesSayWhatHappened) {
  const tiny::Folder folder;
  const Dataset dataset = make(folder);
  ASSERT_GT(dataset.examples.size(), 10u);
  EXPECT_EQ(dataset.vectors.size(0), std::ssize(dataset.examples));
  std::map<std::string, int> balance_of;
  std::map<std::string, Split> split_of;
  for (const Example& example : dataset.examples) {
    balance_of[split_name(example.split) + example.attributes.at("cell")] += example.changed() ? 1 : -1;
    EXPECT_EQ(example.answer, answer_sentence(example.changed(), example.after));
    EXPECT_EQ(example.layers,
              example.attributes.at("block") == "0" ? (std::vector<int64_t>{0, 1}) : (std::vector<int64_t>{2, 3}));
    EXPECT_NE(example.input.find(example.attributes.at("subject")), std::string::npos);
    for (const char* key : {"subject", "counterfactual_subject"}) {
      const Split first = split_of.try_emplace(example.attributes.at(key), example.split).first->second;
      EXPECT_EQ(first, example.split);
    }
  }
  for (const auto& [cell, balance] : balance_of) EXPECT_EQ(balance, 0) << cell;
  for (const char* key : {"settings", "target_accuracy", "dropped", "balance", "change_map", "examples"}) {
    EXPECT_TRUE(dataset.info.contains(key)) << key;
  }
}

// Every example again, from its own words alone.
TEST_F(Patching, UnbalancedEveryPatchIsKept) {
  const tiny::Folder balanced, all;
  const Dataset some = make(balanced);
  settings.balanced = false;
  const Dataset dataset = make(all);
  EXPECT_EQ(std::ssize(dataset.examples), dataset.info.at("patches").get<int64_t>());
  EXPECT_GT(dataset.examples.size(), some.examples.size());
  EXPECT_EQ(dataset.vectors.size(0), std::ssize(dataset.examples));
}

TEST_F(Patching, AnExampleCanBeRunAgain) {
  const tiny::Folder folder;
  const Dataset dataset = make(folder);
  for (size_t i = 0; i < dataset.examples.size(); i += 5) {
    const Example& example = dataset.examples[i];
    const std::vector<int64_t> ids = tokenizer.encode(example.input);
    const int64_t position = std::stoll(example.attributes.at("position"));
    EXPECT_EQ(token_text(tokenizer, ids[static_cast<size_t>(position)]), example.token);
    Taps taps;
    for (const int64_t layer : example.layers) {
      taps.push_back(Tap::replace({PlaceKind::resid_post, layer}, at::tensor({position}, at::kLong),
                                  dataset.vectors[example.vector]));
    }
    ForwardOptions options;
    options.taps = &taps;
    const int64_t last = std::ssize(ids) - 1;
    EXPECT_EQ(token_text(tokenizer, forward(model, pack({ids}), options).logits[last].argmax().item<int64_t>()),
              example.after);
    EXPECT_EQ(token_text(tokenizer, forward(model, pack({ids})).logits[last].argmax().item<int64_t>()), example.before);
  }
}

TEST_F(Patching, ResumeGivesTheSameBytes) {
  const tiny::Folder whole, cut;
  const std::string expected = bytes_of(make(whole));
  EXPECT_EQ(bytes_of(make(whole)), expected);  // everything is there
  make(cut);
  fs::remove(cut.path() / "sweep" / "cells-000001.jsonl");
  fs::remove(cut.path() / "sweep" / "cells-000004.jsonl");
  EXPECT_EQ(bytes_of(make(cut)), expected);
  EXPECT_EQ(sha256_folder(cut.path() / "sweep"), sha256_folder(whole.path() / "sweep"));
}

TEST_F(Patching, InterruptKeepsWhatIsDone) {
  const tiny::Folder folder;
  install_interrupt_handler();
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        std::raise(SIGINT);
        try {
          make(folder);
        } catch (const Error& error) {
          std::_Exit(error.kind() == ErrorKind::interrupted ? 3 : 4);
        }
        std::_Exit(5);
      },
      testing::ExitedWithCode(3), "");
}

TEST_F(Patching, WorkOfOthersIsRefused) {
  const tiny::Folder folder;
  make(folder);
  PatchingSettings other = settings;
  other.seed = 2;
  EXPECT_THROW(make_patching_dataset(model, tokenizer, facts, other, folder.path()), Error);
  Model trained = clone_model(model);
  {
    at::NoGradGuard no_gradients;
    trained.final_norm.add_(0.01);
  }
  EXPECT_THROW(make_patching_dataset(trained, tokenizer, facts, settings, folder.path()), Error);
  const fs::path chunk = folder.path() / "sweep" / "cells-000002.jsonl";
  write_text(chunk, "{\"prompt\": 3}\n");
  EXPECT_THROW(make(folder), Error);
}

TEST_F(Patching, ErrorsAreClear) {
  const tiny::Folder folder;
  const Model small = tiny::model(4, tokenizer.vocab_size(), 20);
  try {
    make_patching_dataset(small, tokenizer, facts, settings, folder.path());
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("longer than the model's positions"), std::string::npos) << error.what();
  }
  settings.sweep.only_correct = true;  // and the model knows nothing
  EXPECT_THROW(make(folder), Error);
}

TEST(PatchingSettings, ThereAndBack) {
  PatchingSettings settings;
  settings.seed = 9;
  settings.balance.max_share = 0.25;
  settings.token_types = {"subject final"};
  settings.balanced = false;
  const Json table = patching_settings_to_json(settings);
  EXPECT_EQ(patching_settings_to_json(parse_patching_settings(table, "recipe")).dump(), table.dump());
  EXPECT_THROW(parse_patching_settings({{"pair_per_subject", 1}}, "recipe"), Error);
  EXPECT_THROW(parse_patching_settings({{"compute", "fp8"}}, "recipe"), Error);
}

TEST(Wording, ToTheLetter) {
  EXPECT_EQ(answer_sentence(true, "Rome"), "The most likely output would change to <<<Rome>>>.");
  EXPECT_EQ(answer_sentence(false, "Paris"), "The output would remain unchanged from <<<Paris>>>.");
}

}  // namespace
}  // namespace introspect
