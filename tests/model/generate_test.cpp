// Generation: batches equal single prompts, vectors act, stops cut, draws follow their distribution.
#include "model/generate.h"

#include "base/temporary_folder.h"
#include "model/sampling.h"
#include "tiny_model.h"

#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::random_tokens;
using test::tiny_model;
using test::tiny_tokenizer;

// The likeliest token again and again, each time through the whole text: no cache, no batch.
std::vector<int64_t> plainly(const Model& model, const Prompt& prompt, int64_t count) {
  c10::NoGradGuard guard;
  std::vector<int64_t> tokens = prompt.tokens, answer;
  for (int64_t i = 0; i < count; ++i) {
    Taps taps;
    if (!prompt.slots.empty()) {
      taps.push_back(
          prompt.vector_layer < 0
              ? Tap::replace({PlaceKind::embed, -1}, test::rows_of(prompt.slots), prompt.vectors)
              : Tap::add({PlaceKind::resid_post, prompt.vector_layer}, test::rows_of(prompt.slots), prompt.vectors));
    }
    const at::Tensor logits = test::run_logits(model, tokens, taps.empty() ? nullptr : &taps);
    answer.push_back(logits[logits.size(0) - 1].argmax().item<int64_t>());
    tokens.push_back(answer.back());
  }
  return answer;
}

Prompt prompt_of(std::vector<int64_t> tokens) {
  Prompt prompt;
  prompt.tokens = std::move(tokens);
  return prompt;
}

std::vector<Prompt> prompts_with_common_beginning() {
  std::vector<Prompt> prompts;
  for (uint64_t i = 0; i < 6; ++i) {
    std::vector<int64_t> tokens = random_tokens(7, 100);
    for (int64_t token : random_tokens(static_cast<int64_t>(1 + 3 * i), i)) tokens.push_back(token);
    prompts.push_back(prompt_of(tokens));
  }
  return prompts;
}

std::vector<Generated> run(const Model& model, const std::vector<Prompt>& prompts, const GenerateOptions& options) {
  return generate(model, tiny_tokenizer(), prompts, options);
}

class GenerateTest : public testing::TestWithParam<std::string> {
 protected:
  Model model_ = tiny_model(test::tiny_config(GetParam()));
};

TEST_P(GenerateTest, BatchEqualsTheWholeTextEachStep) {
  GenerateOptions options;
  options.max_new_tokens = 12;
  std::vector<Prompt> prompts = prompts_with_common_beginning();
  for (int round = 0; round < 2; ++round) {
    const std::vector<Generated> results = run(model_, prompts, options);
    ASSERT_EQ(results.size(), prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(results[i].tokens, plainly(model_, prompts[i], 12)) << i;
      EXPECT_EQ(results[i].tokens, run(model_, {prompts[i]}, options)[0].tokens) << i;
      EXPECT_EQ(results[i].text, tiny_tokenizer().decode(results[i].tokens, true));
      EXPECT_FALSE(results[i].finished);
    }
    prompts.push_back(prompt_of({3}));  // one token: nothing in common any more
  }
}

TEST_P(GenerateTest, VectorsAtEveryLayer) {
  GenerateOptions options;
  options.max_new_tokens = 6;
  std::vector<Prompt> prompts = prompts_with_common_beginning();
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].slots = i % 2 ? std::vector<int64_t>{7, 4} : std::vector<int64_t>{5};
    prompts[i].vectors = test::random_tensor({std::ssize(prompts[i].slots), model_.config.d_model}, i) * 3;
    prompts[i].vector_layer = static_cast<int64_t>(i % 4) - 1;
  }
  prompts.push_back(prompt_of(prompts[0].tokens));  // the same text without a vector
  const std::vector<Generated> results = run(model_, prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(results[i].tokens, plainly(model_, prompts[i], 6)) << i;
  EXPECT_NE(results[0].tokens, results.back().tokens);
}

TEST_P(GenerateTest, EqualPrompts) {
  GenerateOptions options;
  options.max_new_tokens = 4;
  const Prompt prompt = prompt_of(random_tokens(9, 1));
  for (const Generated& result : run(model_, {prompt, prompt, prompt}, options)) {
    EXPECT_EQ(result.tokens, plainly(model_, prompt, 4));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GenerateTest, testing::ValuesIn(test::all_families()),
                         [](const auto& given) { return given.param; });

TEST(Generate, MorePromptsThanOnePassTakes) {
  const Model model = tiny_model();
  std::vector<Prompt> prompts;
  for (uint64_t i = 0; i < 180; ++i) prompts.push_back(prompt_of(random_tokens(100, i)));
  GenerateOptions options;
  options.max_new_tokens = 2;
  const std::vector<Generated> results = run(model, prompts, options);
  for (size_t i : {0u, 162u, 163u, 164u, 179u}) EXPECT_EQ(results[i].tokens, plainly(model, prompts[i], 2)) << i;
}

TEST(Generate, StopTokens) {
  const Model model = tiny_model();
  const Prompt prompt = prompt_of(random_tokens(9, 1));
  GenerateOptions options;
  options.max_new_tokens = 10;
  const std::vector<int64_t> all = plainly(model, prompt, 10);
  options.stop_tokens = {all[4]};
  const Generated result = run(model, {prompt}, options)[0];
  const auto stop = std::find(all.begin(), all.end(), all[4]);
  EXPECT_EQ(result.tokens, std::vector<int64_t>(all.begin(), stop));
  EXPECT_TRUE(result.finished);
}

TEST(Generate, StopStrings) {
  const Model model = tiny_model();
  const std::vector<Prompt> prompts = prompts_with_common_beginning();
  GenerateOptions options;
  options.max_new_tokens = 10;
  const std::vector<Generated> free = run(model, prompts, options);
  size_t stopped = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    // two tokens of the answer: the stop lies across a boundary
    const std::string stop = tiny_tokenizer().piece(free[i].tokens[3]) + tiny_tokenizer().piece(free[i].tokens[4]);
    const size_t cut = free[i].text.find(stop);
    if (stop.empty() || cut == std::string::npos) continue;  // tokens that stand for no text
    ++stopped;
    options.stop = {"never in the text", stop};
    const Generated result = run(model, {prompts[i]}, options)[0];
    EXPECT_EQ(result.text, free[i].text.substr(0, cut));
    EXPECT_TRUE(result.finished);
    EXPECT_LE(result.tokens.size(), 3u);
    EXPECT_TRUE(std::equal(result.tokens.begin(), result.tokens.end(), free[i].tokens.begin()));
  }
  EXPECT_GT(stopped, 0u);
}

TEST(Generate, DrawsDoNotDependOnTheOtherPrompts) {
  const Model model = tiny_model();
  const std::vector<Prompt> prompts = prompts_with_common_beginning();
  GenerateOptions options;
  options.max_new_tokens = 8;
  options.temperature = 1.5;
  options.seed = 5;
  const std::vector<Generated> all = run(model, prompts, options);
  const std::vector<Generated> two = run(model, {prompts[0], prompts[1]}, options);
  EXPECT_EQ(two[0].tokens, all[0].tokens);
  EXPECT_EQ(two[1].tokens, all[1].tokens);
  const std::vector<Generated> twice = run(model, {prompts[0], prompts[0]}, options);
  EXPECT_EQ(twice[0].tokens, all[0].tokens);
  EXPECT_NE(twice[1].tokens, twice[0].tokens) << "each prompt has a stream of its own";
  options.seed = 6;
  EXPECT_NE(run(model, prompts, options)[0].tokens, all[0].tokens);
  options.top_k = 1;
  EXPECT_EQ(run(model, prompts, options)[0].tokens, plainly(model, prompts[0], 8));
}

TEST(Generate, Bfloat16Weights) {
  Model model = tiny_model();
  for (auto& [name, tensor] : parameters(model)) tensor.set_data(tensor.to(at::kBFloat16));
  GenerateOptions options;
  options.max_new_tokens = 5;
  const std::vector<Prompt> prompts = prompts_with_common_beginning();
  size_t equal = 0;
  const std::vector<Generated> results = run(model, prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i) equal += results[i].tokens[0] == plainly(model, prompts[i], 1)[0];
  EXPECT_GE(equal, prompts.size() - 1);  // rounding may part a near tie
}

TEST(Generate, Errors) {
  const Model model = tiny_model();
  GenerateOptions options;
  const auto message = [&](Prompt prompt, const GenerateOptions& with) {
    return error_of([&] { run(model, {prompt_of({1}), std::move(prompt)}, with); });
  };
  EXPECT_TRUE(holds(message(prompt_of({}), options), "prompt 1: got no tokens"));
  EXPECT_TRUE(holds(message(prompt_of({300}), options), "prompt 1: token 300"));
  EXPECT_TRUE(holds(message(prompt_of(random_tokens(79, 1)), options), "79 tokens and 50 new ones: the model has 128"));
  Prompt slot = prompt_of({1, 2});
  slot.slots = {2};
  slot.vectors = at::zeros({1, 48});
  EXPECT_TRUE(holds(message(slot, options), "slot 2"));
  slot.slots = {1};
  slot.vectors = at::zeros({1, 47});
  EXPECT_TRUE(holds(message(slot, options), "[1, 48]"));
  slot.vectors = at::zeros({1, 48});
  slot.vector_layer = 3;
  EXPECT_TRUE(holds(message(slot, options), "vector_layer 3"));
  slot.vector_layer = 0;
  slot.vectors = at::full({1, 48}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(holds(message(slot, options), "not finite"));
  options.temperature = -1;
  EXPECT_TRUE(holds(message(prompt_of({1}), options), "temperature: got -1"));
  options.temperature = 0;
  options.top_p = 0;
  EXPECT_TRUE(holds(message(prompt_of({1}), options), "top_p: got 0"));
  EXPECT_TRUE(run(model, {}, {}).empty());
}

TEST(Sampling, FollowsTheDistribution) {
  const std::vector<float> logits{std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const auto shares = [&](const SamplingSettings& settings) {
    Random random(3, "draws");
    std::vector<double> counts(3);
    for (int i = 0; i < 20000; ++i) counts[sample_token(logits.data(), 3, settings, random)] += 1.0 / 20000;
    return counts;
  };
  const auto near = [](const std::vector<double>& got, const std::vector<double>& expected) {
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], expected[i] > 0 ? 0.015 : 0) << i;
  };
  near(shares({1, 0, 1}), {0.2, 0.5, 0.3});
  near(shares({1, 2, 1}), {0, 0.625, 0.375});
  near(shares({1, 0, 0.7}), {0, 0.625, 0.375});  // 0.5 is not enough, 0.8 is
  near(shares({1, 0, 0.49}), {0, 1, 0});
  near(shares({1, 2, 0.6}), {0, 1, 0});  // of the two left the first has 0.625
  near(shares({0.5, 0, 1}), {0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38});
  near(shares({1e-3, 0, 1}), {0, 1, 0});
}

TEST(Sampling, FindsTheEarliestStop) {
  EXPECT_EQ(find_stop("one two three", {"three", "two"}), 4u);
  EXPECT_EQ(find_stop("one two three", {"four", ""}), std::string::npos);
  EXPECT_EQ(find_stop("ab", {"ab"}, 1), 0u) << "ends behind the place";
  EXPECT_EQ(find_stop("ab ", {"ab"}, 2), std::string::npos) << "was there before";
}

}  // namespace
}  // namespace introspect
