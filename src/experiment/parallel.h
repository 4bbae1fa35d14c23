// Independent jobs side by side, each on one processor thread: for the small models of this project two trainings at
// once finish far sooner than one after the other on two threads, and a job's result does not depend on how many run.
#pragma once

#include <functional>
#include <vector>

namespace introspect {

// Runs every job, at most `workers` at a time, in order of the list. The first Error is thrown again here once all
// running jobs have ended; jobs that have not begun are left out then.
void run_parallel(const std::vector<std::function<void()>>& jobs, int workers);

}  // namespace introspect
