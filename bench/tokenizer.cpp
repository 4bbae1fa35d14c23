// Speed of a tokenizer: bench_tokenizer FOLDER TEXT_FILE [SECONDS]
// Opening, and encoding, encoding with offsets and decoding of the whole file, on one thread, in MB of text a second.
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/files.h"

#include <chrono>
#include <cstdio>
#include <functional>

using namespace introspect;

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Runs `work` until `limit` seconds have passed, and shows the fastest run.
void report(const char* name, double megabytes, double limit, const std::function<void()>& work) {
  const double first = seconds_of(work);
  double best = first;
  for (double total = first; total < limit;) {
    const double time = seconds_of(work);
    total += time;
    best = std::min(best, time);
  }
  fmt::print("{:<22} {:8.1f} MB/s   (first run {:.1f} MB/s)\n", name, megabytes / best, megabytes / first);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_tokenizer FOLDER TEXT_FILE [SECONDS]\n");
    return 2;
  }
  try {
    const fs::path folder = argv[1];
    const double limit = argc > 3 ? std::atof(argv[3]) : 3;
    const std::string text = read_text(argv[2]);
    const double megabytes = static_cast<double>(text.size()) / 1e6;
    fmt::print("open                   {:8.3f} s\n", seconds_of([&] { Tokenizer::open(folder); }));
    const Tokenizer tokenizer = Tokenizer::open(folder);
    std::vector<int64_t> ids;
    report("encode", megabytes, limit, [&] { ids = tokenizer.encode(text, false); });
    report("encode, with offsets", megabytes, limit, [&] { tokenizer.encode_with_offsets(text, false); });
    report("decode", megabytes, limit, [&] { tokenizer.decode(ids); });
    fmt::print("{:.2f} MB, {} tokens, {:.2f} bytes a token\n", megabytes, ids.size(),
               static_cast<double>(text.size()) / static_cast<double>(ids.size()));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
