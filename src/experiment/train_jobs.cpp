#include "experiment/train_jobs.h"

#include "base/error.h"
#include "base/parallel.h"
#include "base/shared_progress.h"

#include <cmath>
#include <mutex>

namespace introspect {

std::vector<TrainedExplainer> train_side_by_side(const std::vector<TrainJob>& jobs, const Dataset& dataset,
                                                 const fs::path& dataset_folder, int workers, const std::string& title,
                                                 const std::function<void(const std::string&)>& say) {
  const auto train_count = static_cast<double>(dataset.of(Split::train).size());
  int64_t steps = 0;
  for (const TrainJob& job : jobs) {
    const ExplainerTraining& t = job.training;
    steps +=
        t.steps > 0 ? t.steps : static_cast<int64_t>(std::ceil(t.epochs * train_count / static_cast<double>(t.batch)));
  }
  SharedProgress progress(title, steps, "step");
  std::vector<TrainedExplainer> results(jobs.size());
  std::vector<std::function<void()>> work;
  std::mutex mutex;
  for (size_t i = 0; i < jobs.size(); ++i) {
    work.emplace_back([&, i] {
      const TrainJob& job = jobs[i];
      const std::string row = fmt::format("{} ({}), seed {}", job.name, job.condition, job.seed);
      int64_t last = 0;
      const TrainedExplainer trained =
          train_explainer(job.model, dataset, dataset_folder, job.training, job.folder, [&](const TrainingProgress& p) {
            progress.advance(p.step - last, fmt::format("{}: loss {:.3f}", row, p.loss));
            last = p.step;
          });
      if (trained.was_complete) progress.advance(trained.steps, row);
      const std::lock_guard<std::mutex> lock(mutex);
      results[i] = trained;
      if (trained.was_complete) {
        say(fmt::format("  {}: complete, kept; validation loss {:.3f}", row, trained.validation_loss));
      } else {
        say(fmt::format("  {}: {} steps, validation loss {:.3f}, {:.0f} answer tokens/s", row, trained.steps,
                        trained.validation_loss, trained.answer_tokens_per_second));
      }
    });
  }
  run_parallel(work, workers);
  progress.finish();
  return results;
}

}  // namespace introspect
