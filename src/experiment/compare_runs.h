// Two runs side by side: the rows that both have, on the metrics that both measured.
#pragma once

#include "experiment/run_index.h"

namespace introspect {

struct RunComparison {
  NamedTable table;  // row, metric, first, second, second less first, its interval, p
  // Both answered the same test examples: differences are paired, by the answers. Else each interval is taken as that
  // of a run of its own, and the difference's is what two independent ones of their widths give.
  bool paired = false;
  int64_t only_first = 0, only_second = 0;  // rows that the other run has not
};

// `metric`: one of them, or empty for all. Throws Error for runs of different tasks.
RunComparison compare_runs(const FoundRun& first, const FoundRun& second, const std::string& metric);

}  // namespace introspect
