// Asking an explainer: batched as single, floors differ, demonstrations that do not fit are left out.
#include "explainer/answer.h"

#include "base/temporary_folder.h"
#include "explainer/small_questions.h"

namespace introspect {
namespace {

using world::explainer_config;
using world::loud_explainer;

std::vector<std::string> texts(const std::vector<Answer>& answers) {
  std::vector<std::string> list;
  for (const Answer& answer : answers) list.push_back(answer.text);
  return list;
}

AnswerOptions short_answers() {
  AnswerOptions options;
  options.max_new_tokens = 8;
  return options;
}

TEST(AnswerQuestions, BatchedEqualsSingle) {
  const Dataset dataset = world::questions();
  for (const int64_t layer : {-1, 0}) {
    ExplainerConfig config = explainer_config();
    config.injection.layer = layer;
    const Explainer explainer = loud_explainer(config);
    AnswerOptions options = short_answers();
    options.demonstrations = 2;
    std::vector<int64_t> done;
    const auto together = answer_questions(explainer, dataset, options, [&](int64_t count, int64_t total) {
      done.push_back(count);
      EXPECT_EQ(total, 8);
    });
    EXPECT_EQ(done, (std::vector<int64_t>{8}));
    for (const int64_t batch : {1, 3}) {
      options.batch = batch;
      EXPECT_EQ(texts(answer_questions(explainer, dataset, options)), texts(together)) << "batch " << batch;
    }
    const auto examples = dataset.of(Split::test);
    ASSERT_EQ(together.size(), examples.size());
    for (size_t i = 0; i < examples.size(); ++i) EXPECT_EQ(together[i].id, examples[i]->id);
  }
}

TEST(AnswerQuestions, TheLayerNamedIsTheOneAskedFor) {
  const Dataset dataset = world::questions();
  ExplainerConfig config = explainer_config();
  config.style.templates = {"{s}{v}{e} at {layer}:"};
  const Explainer explainer = loud_explainer(config);
  AnswerOptions options = short_answers();
  const auto real = texts(answer_questions(explainer, dataset, options));
  for (const LayerCondition condition : {LayerCondition::dropped, LayerCondition::faked}) {
    options.layers = condition;
    EXPECT_NE(texts(answer_questions(explainer, dataset, options)), real) << condition_name(condition);
  }
}

TEST(AnswerQuestions, TheVectorMatters) {
  const Dataset dataset = world::questions();
  const Explainer explainer = loud_explainer(explainer_config());
  AnswerOptions options = short_answers();
  const auto real = texts(answer_questions(explainer, dataset, options));
  EXPECT_EQ(texts(answer_questions(explainer, dataset, options)), real);
  for (const VectorCondition condition : {VectorCondition::zero, VectorCondition::random, VectorCondition::shuffled}) {
    options.vectors = condition;
    EXPECT_NE(texts(answer_questions(explainer, dataset, options)), real) << condition_name(condition);
  }
  // scaled by zero, all vectors are one
  ExplainerConfig config = explainer_config();
  config.injection.scale = 0;
  const Explainer deaf = loud_explainer(config);
  options.vectors = VectorCondition::real;
  const auto silent = texts(answer_questions(deaf, dataset, options));
  options.vectors = VectorCondition::shuffled;
  EXPECT_EQ(texts(answer_questions(deaf, dataset, options)), silent);
}

TEST(AnswerQuestions, LimitAndSplit) {
  const Dataset dataset = world::questions();
  const Explainer explainer = loud_explainer(explainer_config());
  AnswerOptions options = short_answers();
  const auto all = texts(answer_questions(explainer, dataset, options));
  options.limit = 3;
  EXPECT_EQ(texts(answer_questions(explainer, dataset, options)),
            std::vector<std::string>(all.begin(), all.begin() + 3));
  options.split = Split::validation;
  EXPECT_EQ(answer_questions(explainer, dataset, options).front().id, "patching-000024");
  Dataset none = dataset;
  for (Example& example : none.examples) example.split = Split::train;
  EXPECT_TRUE(
      holds(error_of([&] { answer_questions(explainer, none, options); }), "no examples in its validation split"));
}

TEST(AnswerQuestions, DemonstrationsThatDoNotFitAreLeftOut) {
  const Dataset dataset = world::questions();
  AnswerOptions options = short_answers();
  options.demonstrations = 4;
  const Explainer wide = loud_explainer(explainer_config(), 512);
  int64_t used = -1;
  const auto shown = texts(answer_questions(wide, dataset, options, {}, &used));
  EXPECT_EQ(used, 4);

  const SlotTokens slot = wide.slot;
  int64_t longest = 0, longest_answer = 0;
  for (const Example& example : dataset.examples) {
    const Question question = make_question(wide.tokenizer, slot, wide.config.style, example, 0);
    longest = std::max(longest, std::ssize(question.tokens));
    longest_answer = std::max(longest_answer, std::ssize(question.answer));
  }
  // room for the question, its answer and two demonstrations of any length, but not for four of the shortest
  const Explainer narrow = loud_explainer(explainer_config(), 3 * longest + 2 * longest_answer + 8);
  answer_questions(narrow, dataset, options, {}, &used);
  EXPECT_GE(used, 2);
  EXPECT_LT(used, 4);
  // none fits
  const Explainer tight = loud_explainer(explainer_config(), longest + 8);
  const auto alone = texts(answer_questions(tight, dataset, options, {}, &used));
  EXPECT_EQ(used, 0);
  options.demonstrations = 0;
  EXPECT_EQ(texts(answer_questions(wide, dataset, options)), alone);
  EXPECT_NE(shown, alone);
  // the question itself does not fit
  const Explainer tiny = loud_explainer(explainer_config(), longest);
  EXPECT_NE(error_of([&] { answer_questions(tiny, dataset, options); }), "");
}

}  // namespace
}  // namespace introspect
