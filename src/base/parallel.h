// Independent jobs side by side: for small models two jobs at once, each on one processor thread, finish far sooner
// than one after the other on two threads, and a job's result does not depend on how many run.
#pragma once

#include <functional>
#include <vector>

namespace introspect {

// Runs every job, at most `workers` at a time, in order of the list. The first Error is thrown again here once all
// running jobs have ended; jobs that have not begun are left out then. `threads_each`: what libtorch may use in a job.
void run_parallel(const std::vector<std::function<void()>>& jobs, int workers, int threads_each = 1);

// Lets libtorch use every processor thread, or OMP_NUM_THREADS if that is set: by itself it may begin with one (as
// Debian builds it). `processes` of this machine divide them. For the beginning of a program.
void use_all_processors(int processes = 1);

}  // namespace introspect
