#include "explainer/answer.h"

#include "base/error.h"
#include "base/progress.h"
#include "base/random.h"
#include "model/generate.h"
#include "train/rate.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// A prompt in the making: tokens, and which vector stands in which slot.
struct Draft {
  std::vector<int64_t> tokens, slots, layers;
  std::vector<at::Tensor> vectors;
};

void append(Draft& draft, const Question& question, const at::Tensor& vector, bool with_answer) {
  const int64_t start = std::ssize(draft.tokens);
  draft.tokens.insert(draft.tokens.end(), question.tokens.begin(), question.tokens.end());
  for (int64_t slot : question.slots) {
    draft.slots.push_back(start + slot);
    draft.layers.push_back(question.layer);
    draft.vectors.push_back(vector);
  }
  if (with_answer) draft.tokens.insert(draft.tokens.end(), question.answer.begin(), question.answer.end());
}

// Demonstrations of the train split: one changed, one unchanged, and so on, where there are both.
std::vector<const Example*> choose_demonstrations(const Dataset& dataset, int64_t count, uint64_t seed) {
  std::vector<const Example*> train = dataset.of(Split::train), chosen;
  Random random(seed, "demonstrations");
  random.shuffle(train);
  for (int64_t i = 0; i < count; ++i) {
    const bool changed = i % 2 == 0;
    const auto found = std::find_if(train.begin(), train.end(), [&](const Example* example) {
      return example->changed() == changed && std::find(chosen.begin(), chosen.end(), example) == chosen.end();
    });
    if (found != train.end()) chosen.push_back(*found);
  }
  for (size_t i = 0; i < train.size() && std::ssize(chosen) < count; ++i) {
    if (std::find(chosen.begin(), chosen.end(), train[i]) == chosen.end()) chosen.push_back(train[i]);
  }
  return chosen;
}

}  // namespace

std::vector<Answer> answer_questions(const Explainer& explainer, const Dataset& dataset, const AnswerOptions& options,
                                     const std::function<void(int64_t, int64_t)>& report,
                                     int64_t* used_demonstrations) {
  c10::NoGradGuard guard;
  std::vector<const Example*> examples = dataset.of(options.split);
  if (examples.empty()) {
    fail("answer", fmt::format("the data set has no examples in its {} split", split_name(options.split)));
  }
  if (options.limit > 0 && std::ssize(examples) > options.limit) examples.resize(options.limit);
  const at::Tensor vectors = condition_vectors(dataset, examples, options.vectors, options.seed);
  const QuestionStyle& style = explainer.config.style;
  const LayerLists layers = layer_lists(dataset);
  const auto question_of = [&](const Example& example) {
    Example named = example;
    if (options.layers != LayerCondition::real) {
      named.layers = named_layers(example, options.layers, layers, Random(options.seed, "layer " + example.id).next());
    }
    Question question =
        make_question(explainer.tokenizer, explainer.slot, style, named, static_cast<size_t>(options.template_index));
    if (!example.layers.empty()) question.layer = example.layers.back();  // names the projection, whatever is told
    return question;
  };

  std::vector<const Example*> shown = choose_demonstrations(dataset, options.demonstrations, options.seed);
  int64_t longest = 0, demonstration_tokens = 0;
  for (const Example* example : examples) longest = std::max(longest, std::ssize(question_of(*example).tokens));
  for (size_t i = 0; i < shown.size(); ++i) {
    const Question question = question_of(*shown[i]);
    const int64_t size = std::ssize(question.tokens) + std::ssize(question.answer);
    if (demonstration_tokens + size + longest + options.max_new_tokens > explainer.model.config.max_positions) {
      shown.resize(i);
      break;
    }
    demonstration_tokens += size;
  }
  if (used_demonstrations) *used_demonstrations = std::ssize(shown);
  const at::Tensor shown_vectors =
      shown.empty() ? at::Tensor() : condition_vectors(dataset, shown, VectorCondition::real, options.seed);

  GenerateOptions generation;
  generation.max_new_tokens = options.max_new_tokens;
  generation.stop = options.stop;
  generation.compute = choose_compute(options.compute);
  if (explainer.tokenizer.eos()) generation.stop_tokens = {*explainer.tokenizer.eos()};

  std::vector<Answer> answers;
  for (int64_t first = 0; first < std::ssize(examples); first += options.batch) {
    check_interrupt("answer");
    const int64_t last = std::min(first + options.batch, std::ssize(examples));
    std::vector<Prompt> prompts;
    for (int64_t i = first; i < last; ++i) {
      Draft draft;
      for (size_t d = 0; d < shown.size(); ++d) {
        append(draft, question_of(*shown[d]),
               shown_vectors.defined() ? shown_vectors[static_cast<int64_t>(d)] : at::Tensor(), true);
      }
      append(draft, question_of(*examples[i]), vectors.defined() ? vectors[i] : at::Tensor(), false);
      Prompt prompt{draft.tokens, draft.slots, {}, explainer.config.injection.layer};
      if (!draft.vectors.empty()) {
        prompt.vectors = inject(explainer.config.injection, explainer.projections, at::stack(draft.vectors),
                                draft.layers, explainer.model.config.d_model, explainer.embedding_norm);
      }
      prompts.push_back(std::move(prompt));
    }
    const std::vector<Generated> generated = generate(explainer.model, explainer.tokenizer, prompts, generation);
    for (int64_t i = first; i < last; ++i) {
      answers.push_back({examples[i]->id, tidy_answer(generated[i - first].text, style)});
    }
    if (report) report(last, std::ssize(examples));
  }
  return answers;
}

}  // namespace introspect
