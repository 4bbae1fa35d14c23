// Two processes that share a batch have the gradients of the whole, and what they tell each other is the same for both.
#include "base/distributed.h"
#include "base/temporary_folder.h"
#include "explainer/batch.h"
#include "explainer/small_questions.h"
#include "train/optimizer.h"

#include <cstdlib>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

// Runs `action` in processes of one world; a failed expectation in any fails the test.
void in_company(int size, const std::function<void()>& action) {
  const TemporaryFolder folder;
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    children.push_back(world::begin_child([&] {
      ::setenv("INTROSPECT_STORE", (folder / "store").c_str(), 1);
      ::setenv("WORLD_SIZE", std::to_string(size).c_str(), 1);
      ::setenv("LOCAL_WORLD_SIZE", std::to_string(size).c_str(), 1);
      ::setenv("RANK", std::to_string(rank).c_str(), 1);
      join_processes([](const std::string& message) {
        std::fprintf(stderr, "lost: %s\n", message.c_str());
        ::_exit(3);
      });
      action();
      leave_processes(Ending::done);
      if (testing::Test::HasFailure()) ::_exit(4);
    }));
  }
  for (const pid_t child : children) EXPECT_EQ(world::end_of_child(child), 0);
}

std::vector<Trainable> trainables_of(Explainer& explainer) {
  std::vector<Trainable> list;
  for (auto& [name, tensor] : parameters(explainer.model)) {
    tensor.requires_grad_(true);
    list.push_back({name, tensor});
  }
  return list;
}

std::vector<at::Tensor> gradients(const std::vector<Trainable>& trainables) {
  std::vector<at::Tensor> list;
  for (const Trainable& each : trainables) {
    list.push_back(each.tensor.grad().defined() ? each.tensor.grad().clone() : at::zeros_like(each.tensor));
    at::Tensor tensor = each.tensor;
    tensor.mutable_grad().reset();
  }
  return list;
}

void compare_with_whole(size_t count, bool with_replay) {
  const Dataset dataset = world::questions();
  std::vector<const Example*> examples = dataset.of(Split::test);
  examples.resize(count);
  Explainer explainer = world::loud_explainer(world::explainer_config());
  std::vector<Question> questions;
  for (const Example* example : examples) {
    questions.push_back(make_question(explainer.tokenizer, explainer.slot, explainer.config.style, *example, 0));
  }
  const at::Tensor vectors = condition_vectors(dataset, examples, VectorCondition::real, 1);
  std::vector<Document> replay;
  for (int i = 0; with_replay && i < 3; ++i) {
    Document document;
    document.tokens = explainer.tokenizer.encode("The capital of " + world::capitals()[static_cast<size_t>(i)].first);
    document.weights.assign(document.tokens.size(), 1.0f + static_cast<float>(i));
    document.weights[0] = 0;
    replay.push_back(document);
  }
  const std::vector<Trainable> trainables = trainables_of(explainer);
  const auto loss_of = [&](const World& shared_by) {
    const ExplainerBatch batch = make_batch(explainer, questions, vectors, replay, shared_by);
    EXPECT_GT(batch.answer_tokens, 0);
    if (batch.packed.input.size() == 0) return 0.0;
    BatchLoss loss = batch_loss(explainer, batch, {});
    loss.total.backward();
    return loss.answers;
  };
  const double whole_loss = loss_of({});
  const std::vector<at::Tensor> whole = gradients(trainables);

  const double shared_loss = sum_over_processes(loss_of(current_world()));
  sum_gradients(trainables);
  EXPECT_NEAR(shared_loss, whole_loss, 1e-6 * whole_loss);
  const std::vector<at::Tensor> shared = gradients(trainables);
  for (size_t i = 0; i < whole.size(); ++i) {
    const double largest = whole[i].abs().max().item<double>();
    EXPECT_GT(largest, 0) << trainables[i].name;
    EXPECT_LT(world::difference(shared[i], whole[i]), 1e-6 * std::max(1.0, largest)) << trainables[i].name;
  }
  // the very same for all, or they would part
  double sum = 0;
  for (const at::Tensor& each : shared) sum += each.abs().to(at::kDouble).sum().item<double>();
  EXPECT_EQ(from_first_process(fmt::format("{:a}", sum)), fmt::format("{:a}", sum));
}

TEST(SharedGradients, AreThoseOfTheWholeBatch) {
  in_company(2, [] {
    compare_with_whole(7, false);
    compare_with_whole(8, true);
    compare_with_whole(1, false);  // one process has nothing to do
  });
}

TEST(SharedGradients, OfThreeProcesses) {
  in_company(3, [] { compare_with_whole(8, true); });
}

TEST(Company, SumsTextsAndShares) {
  in_company(2, [] {
    const int rank = current_world().rank;
    const at::Tensor small = at::full({2, 3}, rank + 1.0), half = at::full({3}, rank + 1.5, at::kBFloat16),
                     strided = at::full({4, 2}, rank + 2.0).t();
    sum_over_processes({small, half, strided});
    EXPECT_TRUE(at::equal(small, at::full({2, 3}, 3.0)));
    EXPECT_TRUE(at::equal(half, at::full({3}, 4.0, at::kBFloat16)));
    EXPECT_TRUE(at::equal(strided, at::full({2, 4}, 5.0)));
    EXPECT_EQ(sum_over_processes(0.5 + rank), 2.0);
    EXPECT_EQ(from_first_process(rank == 0 ? "what the first says\n" : "no"), "what the first says\n");
    EXPECT_EQ(from_first_process(rank == 0 ? "" : "no"), "");
    EXPECT_EQ(share_of(std::vector<int>{0, 1, 2, 3, 4}),
              rank == 0 ? (std::vector<int>{0, 2, 4}) : (std::vector<int>{1, 3}));
    EXPECT_FALSE(interrupted_together());
    if (rank == 1) raise_interrupt();
    EXPECT_TRUE(interrupted_together());
    EXPECT_TRUE(interrupted());
  });
}

TEST(Company, OfOneDoesNothing) {
  const at::Tensor tensor = at::full({2}, 1.0);
  sum_over_processes({tensor});
  EXPECT_TRUE(at::equal(tensor, at::full({2}, 1.0)));
  EXPECT_EQ(sum_over_processes(2.0), 2.0);
  EXPECT_EQ(from_first_process("text"), "text");
  EXPECT_EQ(share_of(std::vector<int>{1, 2}), (std::vector<int>{1, 2}));
  wait_for_processes();
  EXPECT_TRUE(first_process());
}

// Who waits for another that fails is told why, at once.
TEST(Company, AFailureReachesWhoWaits) {
  in_company(2, [] {
    if (current_world().rank == 1) {
      leave_processes(Ending::failed, "[there] something broke");
      ::_exit(0);
    }
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(holds(error_of([] { wait_for_processes(); }), "process 1 of 2 failed: [there] something broke"));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
    ::_exit(testing::Test::HasFailure() ? 4 : 0);
  });
}

}  // namespace
}  // namespace introspect
