#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include <ATen/Parallel.h>

namespace introspect {

void run_parallel(const std::vector<std::function<void()>>& jobs, int workers, int threads_each) {
  const int threads = at::get_num_threads();
  at::set_num_threads(threads_each);  // threads that begin from here on take it over
  std::atomic<size_t> next = 0;
  std::exception_ptr first_error;
  std::mutex mutex;
  const auto work = [&] {
    for (size_t job = next++; job < jobs.size(); job = next++) {
      try {
        jobs[job]();
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!first_error) first_error = std::current_exception();
        next = jobs.size();
      }
    }
  };
  std::vector<std::thread> pool;
  for (int i = 0; i < std::max(1, workers); ++i) pool.emplace_back(work);
  for (std::thread& thread : pool) thread.join();
  at::set_num_threads(threads);
  if (first_error) std::rethrow_exception(first_error);
}

void use_all_processors(int processes) {
  if (std::getenv("OMP_NUM_THREADS")) return;
  at::set_num_threads(std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / processes));
}

}  // namespace introspect
