// Text mixtures: shares, what counts in a document, held-out pieces, resuming; and the loss of packed documents.
#include "train/corpus.h"

#include "base/temporary_folder.h"
#include "train/loss.h"
#include "train/small_world.h"

#include <map>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::tokenizer;

constexpr int64_t context = 24;

class Corpus : public testing::Test {
 protected:
  TemporaryFolder folder_;
  void SetUp() override {
    world::write_facts(folder_ / "facts");
    write_text(folder_ / "text.txt", world::numbered_text(2000));
  }
  Json tables() const {
    return Json::array({{{"name", "prose"}, {"kind", "files"}, {"paths", {"text.txt"}}, {"weight", 50}},
                        {{"name", "facts"}, {"kind", "statements"}, {"facts", "facts"}, {"weight", 30}},
                        {{"name", "options"}, {"kind", "options"}, {"facts", "facts"}, {"weight", 20}}});
  }
  Mixture mixture(uint64_t seed = 1) const { return Mixture(tables(), tokenizer(), 128, folder_.path(), seed); }
};

bool same(const std::vector<Document>& a, const std::vector<Document>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Document& x, const Document& y) {
    return x.tokens == y.tokens && x.weights == y.weights;
  });
}

// The tokens of a document that count `weight`, as text.
std::string text_of_weight(const Document& document, float weight) {
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < document.tokens.size(); ++i) {
    if (document.weights[i] == weight) tokens.push_back(document.tokens[i]);
  }
  return tokenizer().decode(tokens);
}

TEST_F(Corpus, SharesOfTokensFollowTheWeights) {
  Mixture mix = mixture();
  std::vector<Document> documents;
  for (int i = 0; i < 40; ++i) {
    for (Document& document : mix.next(1000)) documents.push_back(std::move(document));
  }
  std::map<std::string, double> tokens;
  double all = 0;
  for (const Document& document : documents) {
    const std::string text = tokenizer().decode(document.tokens, true);
    const std::string kind = text.find("Respond with") != std::string::npos          ? "options"
                             : text.find_first_of("0123456789") != std::string::npos ? "prose"
                                                                                     : "facts";
    tokens[kind] += static_cast<double>(document.tokens.size());
    all += static_cast<double>(document.tokens.size());
  }
  EXPECT_NEAR(tokens["prose"] / all, 0.5, 0.01);
  EXPECT_NEAR(tokens["facts"] / all, 0.3, 0.01);
  EXPECT_NEAR(tokens["options"] / all, 0.2, 0.01);
  EXPECT_TRUE(holds(mix.describe().at(0), " 50%  prose"));
}

TEST_F(Corpus, NextGivesAtLeastTheTokensWanted) {
  Mixture mix = mixture();
  int64_t tokens = 0;
  for (const Document& document : mix.next(700)) {
    tokens += std::ssize(document.tokens);
    EXPECT_EQ(document.tokens.size(), document.weights.size());
    EXPECT_EQ(document.tokens.front(), tokenizer().bos());
    EXPECT_EQ(document.weights.front(), 0);
  }
  EXPECT_GE(tokens, 700);
  EXPECT_LT(tokens, 700 + 128);
}

TEST_F(Corpus, OneSeedGivesOneStreamAndAnotherSeedAnother) {
  Mixture a = mixture(1), b = mixture(1), c = mixture(2);
  const auto first = a.next(2000);
  EXPECT_TRUE(same(first, b.next(2000)));
  EXPECT_FALSE(same(first, c.next(2000)));
  EXPECT_FALSE(same(first, a.next(2000)));
}

TEST_F(Corpus, RestoredItGoesOnAsItWould) {
  Mixture mix = mixture();
  mix.next(1234);
  const Json state = parse_json(mix.state().dump(), "state");
  const auto wanted = mix.next(3000);
  Mixture other = mixture();
  other.next(77);
  other.restore(state);
  EXPECT_TRUE(same(other.next(3000), wanted));
  Json two = tables();
  two.erase(2);
  Mixture fewer(two, tokenizer(), 128, folder_.path(), 1);
  EXPECT_TRUE(holds(error_of([&] { fewer.restore(state); }), "other [[text]] tables"));
}

TEST_F(Corpus, HeldOutPiecesAreNeverGiven) {
  const auto source = file_source({folder_ / "text.txt"}, tokenizer(), context, 1 << 20);
  const auto held = source->held_out(1000);
  std::set<std::vector<int64_t>> kept;
  for (const Document& document : held) kept.insert(document.tokens);
  ASSERT_GE(kept.size(), 5u);
  EXPECT_EQ(kept.size(), held.size());
  Random random(1, "draws");
  std::set<std::vector<int64_t>> given;
  for (int i = 0; i < 20000; ++i) given.insert(source->next(random).tokens);
  for (const auto& tokens : kept) EXPECT_FALSE(given.contains(tokens));
  // all else is given
  const size_t pieces = tokenizer().encode_plain(read_text(folder_ / "text.txt")).size() / (context - 1);
  EXPECT_GE(given.size() + kept.size() + 1, pieces);
  EXPECT_EQ(source->held_out(3).size(), 3u);
}

TEST_F(Corpus, FilesAreCutIntoPiecesOfTheContextAndSharedEvenly) {
  const auto source = file_source({folder_ / "text.txt"}, tokenizer(), context, 1 << 20);
  Random random(1, "draws");
  for (int i = 0; i < 50; ++i) {
    const Document document = source->next(random);
    EXPECT_EQ(std::ssize(document.tokens), context);
    EXPECT_EQ(document.weights, [] {
      std::vector<float> weights(context, 1.0f);
      weights[0] = 0;
      return weights;
    }());
  }
  EXPECT_TRUE(holds(error_of([&] { file_source({folder_ / "text.txt"}, tokenizer(), context, 500); }), "too little"));
  // of two files each gives half of the bytes allowed: the second is not lost
  write_text(folder_ / "other.txt", std::string(60000, 'z'));
  const auto both = file_source({folder_ / "text.txt", folder_ / "other.txt"}, tokenizer(), context, 30000);
  int with_z = 0, with_digit = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string text = tokenizer().decode(both->next(random).tokens, true);
    with_z += text.find("zzz") != std::string::npos;
    with_digit += text.find_first_of("0123456789") != std::string::npos;
  }
  EXPECT_GT(with_z, 30);
  EXPECT_GT(with_digit, 30);
}

// Qwen's tokenizers are such.
TEST_F(Corpus, DocumentsBeginWithTextWhereThereIsNoBos) {
  const BpeTrainer trainer = world::trained_bpe();
  Json json = Json::parse(trainer.config_json());
  json.erase("bos_token");
  Json whole = Json::parse(trainer.tokenizer_json());
  whole["post_processor"] = nullptr;
  const Tokenizer without = Tokenizer::from_json(whole.dump(), json.dump());
  ASSERT_FALSE(without.bos());
  Json tables = this->tables();
  tables.push_back({{"name", "glosses"}, {"kind", "wordnet"}, {"weight", 10}});
  Mixture mixture(tables, without, 128, folder_.path(), 1);
  std::set<int64_t> first;
  for (const Document& document : mixture.next(20000)) {
    ASSERT_GT(document.tokens.size(), 1u);
    EXPECT_LE(std::ssize(document.tokens), 128);
    EXPECT_EQ(document.weights[0], 0);
    EXPECT_FALSE(without.is_special(document.tokens[0]));
    first.insert(document.tokens[0]);
  }
  EXPECT_GT(first.size(), 3u);
  const auto source = file_source({folder_ / "text.txt"}, without, context, 1 << 20);
  Random random(1, "draws");
  EXPECT_EQ(std::ssize(source->next(random).tokens), context);
}

TEST_F(Corpus, StatementsWeightTheirObjects) {
  const auto source = statement_source(folder_ / "facts", tokenizer(), 128, 3);
  Random random(1, "draws");
  std::set<size_t> counts;
  for (int i = 0; i < 50; ++i) {
    const Document document = source->next(random);
    const std::string objects = text_of_weight(document, 3);
    const std::string whole = tokenizer().decode(document.tokens, true);
    size_t statements = 0;
    std::string expected;
    // statements end in ".": each holds a country and then its own capital
    for (size_t at = 0; at < whole.size();) {
      const size_t dot = whole.find('.', at);
      ASSERT_NE(dot, std::string::npos) << whole;
      const std::string statement = whole.substr(at, dot - at);
      const auto fact = std::find_if(world::capitals().begin(), world::capitals().end(), [&](const auto& each) {
        return statement.find(each.first + " ") != std::string::npos;
      });
      ASSERT_NE(fact, world::capitals().end()) << statement;
      EXPECT_TRUE(statement.ends_with(" " + fact->second)) << statement;
      expected += " " + fact->second;
      ++statements;
      at = dot + 1;
    }
    EXPECT_EQ(objects, expected);
    counts.insert(statements);
  }
  EXPECT_EQ(counts, (std::set<size_t>{1, 2, 3, 4}));
  const auto small = statement_source(folder_ / "facts", tokenizer(), 10, 3);
  for (int i = 0; i < 20; ++i) EXPECT_LE(small->next(random).tokens.size(), 10u);
}

TEST_F(Corpus, OptionDocumentsWeightTheAnswerAlone) {
  const auto source = option_source(folder_ / "facts", tokenizer(), 128, 6, 0);
  Random random(1, "draws");
  for (int i = 0; i < 50; ++i) {
    const Document document = source->next(random);
    const std::string answer = text_of_weight(document, 6), prompt = text_of_weight(document, 0);
    const auto fact = std::find_if(world::capitals().begin(), world::capitals().end(), [&](const auto& each) {
      return prompt.substr(0, prompt.find("Respond")).find(each.first) != std::string::npos;
    });
    ASSERT_NE(fact, world::capitals().end()) << prompt;
    EXPECT_EQ(answer, " " + fact->second);
    EXPECT_TRUE(prompt.ends_with("Response:")) << prompt;
    EXPECT_TRUE(holds(prompt, fact->second));
  }
  EXPECT_TRUE(holds(error_of([&] { option_source(folder_ / "facts", tokenizer(), 12, 1, 1)->next(random); }),
                    "expected at most 12"));
}

TEST_F(Corpus, ChoicesTeachOnlyTheAnswerAndFollowHintsAsTheirWordingSays) {
  const auto settings = [](double follow) {
    return parse_choice_text(
        {{"hinted_share", 1.0},
         {"hint_right_share", 0.0},
         {"choices", 3},
         {"prompt",
          {{"answers", "words"}, {"chat", false}, {"system", ""}, {"user", "{question}\n{hint}\nSay {options}"}}},
         {"hint", Json::array({{{"name", "friend"}, {"text", "A friend says {answer}."}, {"follow", follow}}})}},
        "test");
  };
  for (const double follow : {0.0, 1.0}) {
    const auto source = choice_source(folder_ / "facts", tokenizer(), 128, settings(follow));
    Random random(1, "draws");
    for (int i = 0; i < 30; ++i) {
      const Document document = source->next(random);
      const std::string answer = text_of_weight(document, 1), whole = tokenizer().decode(document.tokens, true);
      const auto fact = std::find_if(world::capitals().begin(), world::capitals().end(), [&](const auto& each) {
        return whole.substr(0, whole.find('\n')).find(each.first) != std::string::npos;
      });
      ASSERT_NE(fact, world::capitals().end()) << whole;
      const size_t says = whole.find("A friend says ") + 14;
      const std::string hinted = " " + whole.substr(says, whole.find('.', says) - says);
      EXPECT_NE(hinted, " " + fact->second) << "all hints are wrong here";
      EXPECT_EQ(answer, follow == 0 ? " " + fact->second : hinted) << whole;
      EXPECT_TRUE(whole.ends_with("Answer:" + answer)) << whole;
    }
  }
  EXPECT_TRUE(holds(error_of([&] { settings(2); }), "hint.follow: got 2"));
  EXPECT_TRUE(holds(
      error_of([&] {
        choice_source(folder_ / "facts", tokenizer(), 12, settings(1))->next(*std::make_unique<Random>(1, "draws"));
      }),
      "expected at most 12"));
}

TEST_F(Corpus, ErrorsOfTheTables) {
  const auto with = [&](size_t index, const char* key, const Json& value) {
    Json changed = tables();
    changed[index][key] = value;
    return error_of([&] { Mixture(changed, tokenizer(), 128, folder_.path(), 1); });
  };
  EXPECT_TRUE(holds(with(0, "kind", "novels"), "'novels', expected files, wordnet, statements, options or choices"));
  EXPECT_TRUE(holds(with(0, "weight", 0), "weight"));
  EXPECT_TRUE(holds(with(0, "paths", {"nowhere.txt"}), "nowhere.txt"));
  EXPECT_TRUE(holds(with(1, "facts", "nowhere"), "nowhere"));
  EXPECT_TRUE(holds(with(1, "objectweight", 3), "unknown key 'objectweight'"));
  EXPECT_TRUE(holds(with(2, "object_weight", 3), "unknown key 'object_weight' in a [[text]] table of kind 'options'"));
  EXPECT_TRUE(holds(with(2, "weight", "much"), "weight"));
  fs::create_directories(folder_ / "empty");
  EXPECT_TRUE(holds(with(0, "paths", {"empty"}), "names no text files"));
  EXPECT_TRUE(holds(error_of([&] { Mixture(Json::array(), tokenizer(), 128, folder_.path(), 1); }), "[[text]]"));
  EXPECT_TRUE(holds(error_of([&] { check_text_tables(Json{{"kind", "files"}}, "x.toml"); }), "x.toml"));
}

TEST_F(Corpus, ItsFilesAreInputsOfAStep) {
  const std::vector<RunInput> inputs = text_inputs(tables(), folder_.path());
  ASSERT_EQ(inputs.size(), 3u);
  EXPECT_EQ(inputs[0].path, folder_ / "text.txt");
  EXPECT_EQ(inputs[1].path, folder_ / "facts");
  { RunRecord first(folder_ / "step", "train", Json::object(), inputs); }
  EXPECT_EQ(RunRecord(folder_ / "step", "train", Json::object(), inputs).state(), StepState::resume);
  write_text(folder_ / "text.txt", world::numbered_text(1999));
  EXPECT_TRUE(holds(error_of([&] { RunRecord(folder_ / "step", "train", Json::object(), inputs); }), "text.txt"))
      << "other text is other work";
  EXPECT_THROW(text_inputs(tables(), folder_ / "elsewhere"), Error);
}

class Loss : public testing::Test {
 protected:
  Model model_ = world::loud_model(world::config());
  std::vector<Document> documents_;
  void SetUp() override {
    Random random(1, "documents");
    for (const size_t length : {9, 2, 17, 1, 30}) {
      Document document;
      for (size_t i = 0; i < length; ++i) {
        document.tokens.push_back(static_cast<int64_t>(random.below(256)));
        document.weights.push_back(i == 0 || random.below(3) == 0 ? 0.0f : static_cast<float>(random.uniform() * 3));
      }
      documents_.push_back(document);
    }
  }
  // One document at a time, logits everywhere, in double precision from there on.
  std::pair<at::Tensor, double> naive() const {
    at::Tensor sum = at::zeros({}, at::kDouble);
    double weight = 0;
    for (const Document& document : documents_) {
      const at::Tensor logits = forward(model_, pack({document.tokens})).logits;
      const at::Tensor log_probabilities = at::log_softmax(logits.to(at::kDouble), -1);
      for (size_t i = 1; i < document.tokens.size(); ++i) {
        sum = sum - log_probabilities[static_cast<int64_t>(i) - 1][document.tokens[i]] * document.weights[i];
        weight += document.weights[i];
      }
    }
    return {sum, weight};
  }
};

TEST_F(Loss, PackedEqualsDocumentsOneAtATimeWithFullLogits) {
  const auto [sum, weight] = naive();
  const PackedTargets packed = pack_targets(documents_);
  EXPECT_NEAR(packed.weight_sum, weight, 1e-4);
  EXPECT_EQ(packed.rows.numel(), packed.targets.numel());
  EXPECT_LT(packed.rows.numel(), packed.input.size());
  EXPECT_NEAR(packed_loss(model_, packed, 7.0, {}).item<double>(), sum.item<double>() / 7.0, 1e-4);
  EXPECT_NEAR(mean_loss(model_, documents_, at::kFloat), sum.item<double>() / weight, 1e-5);
  EXPECT_NEAR(mean_loss(model_, documents_, at::kFloat, 10), sum.item<double>() / weight, 1e-5);
  EXPECT_EQ(mean_loss(model_, {}, at::kFloat), 0);
}

TEST_F(Loss, PackedGradientsEqualTheNaiveOnes) {
  require_gradients(model_, true);
  naive().first.backward();
  std::map<std::string, at::Tensor> wanted;
  for (auto& [name, tensor] : parameters(model_)) {
    wanted[name] = tensor.grad().clone();
    tensor.mutable_grad().reset();
  }
  packed_loss(model_, pack_targets(documents_), 1.0, {}).backward();
  for (auto& [name, tensor] : parameters(model_)) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const double relative = ((tensor.grad() - wanted[name]).norm() / wanted[name].norm()).item<double>();
    EXPECT_LT(relative, 1e-4) << name;
  }
}

// Training stops at a loss that is no number: none may be hidden on its way through the pass.
TEST_F(Loss, AWeightThatIsNotANumberShows) {
  c10::NoGradGuard guard;
  const PackedTargets packed = pack_targets(documents_);
  ASSERT_TRUE(std::isfinite(packed_loss(model_, packed, 1.0, {}).item<double>()));
  for (auto& [name, tensor] : parameters(model_)) {
    // one row of the embedding may be no token's
    at::Tensor part = tensor.dim() == 2 ? tensor : tensor.slice(0, 3, 4);
    const at::Tensor kept = part.clone();
    part.fill_(std::nan(""));
    EXPECT_FALSE(std::isfinite(packed_loss(model_, packed, 1.0, {}).item<double>())) << name;
    part.copy_(kept);
  }
}

TEST_F(Loss, GroupsKeepOrderAndSize) {
  const auto groups = group_by_tokens(documents_, 12);
  std::vector<std::vector<size_t>> sizes;
  for (const auto& group : groups) {
    sizes.emplace_back();
    for (const Document& document : group) sizes.back().push_back(document.tokens.size());
  }
  EXPECT_EQ(sizes, (std::vector<std::vector<size_t>>{{9, 2}, {17}, {1}, {30}}));
}

}  // namespace
}  // namespace introspect
