// WordNet: a small database of the same form, broken files, and the real one where it is installed.
#include "text/wordnet.h"

#include "base/temporary_folder.h"

#include <algorithm>
#include <iostream>

namespace introspect {
namespace {

class SmallWordNet : public testing::Test {
 protected:
  TemporaryFolder folder_;
  void SetUp() override {
    folder_.write(
        "data.noun",
        "  1 licence\n"
        "00000001 05 n 01 animal 0 000 | a living thing  \n"
        "00000002 05 n 02 dog 0 domestic_dog 0 001 @ 00000001 n 0000 | an animal that barks; \"the dog ran\"  \n"
        "00000003 05 n 01 goose 0 001 @ 00000001 n 0000 | a bird  \n"
        "00000004 15 n 01 Rex 0 001 @i 00000002 n 0000 | the king's dog  \n");
    folder_.write("data.verb", "00000001 38 v 01 run 0 000 01 + 02 00 | move fast  \n");
    folder_.write("data.adj", "00000001 00 s 01 afraid(p) 0 000 | full of fear  \n");
    folder_.write("data.adv", "");
    folder_.write("index.noun",
                  "animal n 1 0 1 1 00000001  \ndog n 1 1 @ 1 1 00000002  \ngoose n 1 1 @ 1 0 00000003  \n"
                  "domestic_dog n 1 1 @ 1 0 00000002  \nrex n 1 1 @i 1 0 00000004  \n");
    folder_.write("index.verb", "run v 1 0 1 1 00000001  \n");
    folder_.write("index.adj", "afraid a 1 0 1 1 00000001  \n");
    folder_.write("index.adv", "");
    folder_.write("noun.exc", "geese goose\n");
    folder_.write("verb.exc", "ran run\n");
    folder_.write("adj.exc", "");
    folder_.write("adv.exc", "");
    folder_.write("cntlist.rev", "dog%1:05:00:: 1 42\nabsent%1:05:00:: 1 7\n");
  }
  std::string error() const {
    return error_of([&] { WordNet::open(folder_.path()); });
  }
};

TEST_F(SmallWordNet, IsRead) {
  const WordNet net = WordNet::open(folder_.path());
  ASSERT_EQ(net.synsets().size(), 6u);
  const auto& dog = net.senses("dog", WordClass::noun);
  ASSERT_EQ(dog.size(), 1u);
  EXPECT_EQ(dog[0].count, 42);
  const Synset& synset = net.synsets()[dog[0].synset];
  EXPECT_EQ(synset.lemmas, (std::vector<std::string>{"dog", "domestic_dog"}));
  EXPECT_EQ(synset.gloss, "an animal that barks; \"the dog ran\"");
  EXPECT_EQ(wordnet_category_name(synset.category), "noun.animal");
  EXPECT_FALSE(synset.instance);
  const uint32_t rex = net.senses("rex", WordClass::noun).at(0).synset;
  EXPECT_TRUE(net.synsets()[rex].instance);
  const auto above = net.with_hypernyms(rex);
  EXPECT_EQ(above.size(), 3u);
  EXPECT_EQ(net.synsets()[above[2]].lemmas[0], "animal");
  EXPECT_EQ(net.synsets()[net.senses("afraid", WordClass::adjective).at(0).synset].lemmas[0], "afraid");
  EXPECT_TRUE(net.senses("cat", WordClass::noun).empty());
}

TEST_F(SmallWordNet, FindsBaseForms) {
  const WordNet net = WordNet::open(folder_.path());
  using Words = std::vector<std::string>;
  EXPECT_EQ(net.base_forms("dogs", WordClass::noun), Words{"dog"});
  EXPECT_EQ(net.base_forms("Dog", WordClass::noun), Words{"dog"});
  EXPECT_EQ(net.base_forms("geese", WordClass::noun), Words{"goose"});
  EXPECT_EQ(net.base_forms("ran", WordClass::verb), Words{"run"});
  EXPECT_EQ(net.base_forms("running", WordClass::verb), Words{"run"});
  EXPECT_EQ(net.base_forms("runs", WordClass::verb), Words{"run"});
  EXPECT_TRUE(net.base_forms("runs", WordClass::noun).empty());
  EXPECT_TRUE(net.base_forms("", WordClass::noun).empty());
}

TEST_F(SmallWordNet, BrokenFilesAreNamedWithTheirLine) {
  folder_.write("data.verb", "00000001 38 v 01 run 0 000\n00000002 99 v 01 walk 0 000 | x\n");
  EXPECT_TRUE(holds(error(), "data.verb:2"));
  EXPECT_TRUE(holds(error(), "got 99, expected 0 to 44"));
  folder_.write("data.verb", "00000001 38 v 03 run 0 \n");
  EXPECT_TRUE(holds(error(), "data.verb:1"));
  folder_.write("data.verb", "00000001 38 n 01 run 0 000 | x\n");
  EXPECT_TRUE(holds(error(), "another word class"));
  folder_.write("data.verb", "00000001 38 v 01 run 0 001 @ 00000009 v 0000 | x\n");
  EXPECT_TRUE(holds(error(), "'run' points to a synset 00000009"));
  folder_.write("data.verb", "0000000x 38 v 01 run 0 000 | x\n");
  EXPECT_TRUE(holds(error(), "got '0000000x', expected a number"));
}

TEST_F(SmallWordNet, BrokenIndexAndCounts) {
  folder_.write("index.verb", "run v 1 0 1 1 00000007  \n");
  EXPECT_TRUE(holds(error(), "index.verb:1"));
  folder_.write("index.verb", "run v 1 0 1 1 00000001  \n");
  folder_.write("cntlist.rev", "dog%1:05:00:: 1\n");
  EXPECT_TRUE(holds(error(), "cntlist.rev:1"));
}

TEST(WordNet, AMissingDatabaseNamesThePackage) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { WordNet::open(folder.path()); }), "wordnet-base"));
}

TEST(WordNet, TheInstalledDatabase) {
  if (!fs::exists(fs::path(WordNet::default_folder) / "data.noun")) {
    GTEST_SKIP() << "Debian's wordnet-base is not installed";
  }
  const WordNet net = WordNet::open();
  EXPECT_EQ(net.synsets().size(), 117659u);  // wnstats(7)
  const auto& dog = net.senses("dog", WordClass::noun);
  ASSERT_FALSE(dog.empty());
  const auto above = net.with_hypernyms(dog[0].synset);
  EXPECT_TRUE(std::any_of(above.begin(), above.end(),
                          [&](uint32_t synset) { return net.synsets()[synset].lemmas[0] == "animal"; }));
  EXPECT_EQ(net.base_forms("went", WordClass::verb), std::vector<std::string>{"go"});
  EXPECT_GT(dog[0].count, 0);
}

}  // namespace
}  // namespace introspect
