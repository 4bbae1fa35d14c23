#include "experiment/train_jobs.h"

#include "base/error.h"
#include "base/parallel.h"
#include "base/shared_progress.h"

#include <mutex>

namespace introspect {

void add_projections(TrainJob& job, const FittedFolders& folders) {
  if (!wants_projections(job.training)) return;
  job.training.projections = folders.at({job.name, job.training.explainer.injection.projection});
}

std::vector<TrainedExplainer> train_side_by_side(const std::vector<TrainJob>& jobs, const Dataset& dataset,
                                                 const fs::path& dataset_folder, int workers, const std::string& title,
                                                 const std::function<void(const std::string&)>& say) {
  int64_t steps = 0;
  std::vector<std::vector<Lesson>> lessons;
  for (const TrainJob& job : jobs) {
    lessons.push_back(job.lessons.empty() ? std::vector<Lesson>{{dataset_folder, &dataset, job.training}}
                                          : job.lessons);
    int64_t examples = 0;
    for (const Lesson& each : lessons.back()) examples += std::ssize(learnt_examples(*each.dataset, each.training));
    steps += steps_of(job.training, examples);
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
          train_explainer(job.model, lessons[i], job.training, job.folder, [&](const TrainingProgress& p) {
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
