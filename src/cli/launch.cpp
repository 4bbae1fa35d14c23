// introspect launch: several processes of this program on this machine, as torchrun would start them.
#include "base/error.h"
#include "cli/commands.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace introspect {

namespace {

using Clock = std::chrono::steady_clock;

// What the others get to end by themselves once one has failed: they notice within a few seconds.
constexpr std::chrono::seconds kGrace(8);

volatile std::sig_atomic_t signals = 0;  // of the kind that is passed on

void count_signal(int) {
  signals = signals + 1;
}

struct Child {
  pid_t id = -1;
  bool running = true;
};

// A folder for the file through which the processes meet.
struct MeetingFolder {
  std::string path = (std::filesystem::temp_directory_path() / "introspect-XXXXXX").string();
  MeetingFolder() {
    if (!::mkdtemp(path.data())) fail("launch", fmt::format("cannot make a folder ({})", path));
  }
  ~MeetingFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

pid_t start(int rank, int processes, int threads, const std::string& store, std::vector<std::string> arguments) {
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) fail("launch", fmt::format("cannot start process {}", rank));
  if (child > 0) return child;
  // A group of its own: the terminal's Ctrl-C comes to the parent alone, which passes it on once.
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it was gone before the line above
  const std::string number = std::to_string(rank), count = std::to_string(processes);
  for (const char* name : {"RANK", "LOCAL_RANK"}) ::setenv(name, number.c_str(), 1);
  for (const char* name : {"WORLD_SIZE", "LOCAL_WORLD_SIZE"}) ::setenv(name, count.c_str(), 1);
  ::setenv("INTROSPECT_STORE", store.c_str(), 1);
  ::setenv("OMP_NUM_THREADS", std::to_string(threads).c_str(), 0);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv("/proc/self/exe", argv.data());
  std::fprintf(stderr, "introspect: [launch] cannot start process %d\n", rank);
  ::_exit(127);
}

void kill_all(const std::vector<Child>& children, int signal) {
  for (const Child& child : children) {
    if (child.running) ::kill(child.id, signal);
  }
}

// Waits for all; the exit code of the first that failed.
int wait_for(std::vector<Child>& children) {
  int code = 0, passed_on = 0;
  size_t running = children.size();
  auto deadline = Clock::time_point::max();
  while (running > 0) {
    for (size_t rank = 0; rank < children.size(); ++rank) {
      int status = 0;
      if (!children[rank].running || ::waitpid(children[rank].id, &status, WNOHANG) != children[rank].id) continue;
      children[rank].running = false;
      --running;
      const int ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      if (ended == 0 || code != 0) continue;
      code = ended;
      deadline = Clock::now() + kGrace;
      if (WIFSIGNALED(status)) {
        std::fprintf(stderr, "introspect: [launch] process %zu of %zu was ended by signal %d; the others are stopped\n",
                     rank, children.size(), WTERMSIG(status));
      }
    }
    while (passed_on < signals) {
      ++passed_on;
      kill_all(children, SIGINT);
    }
    if (Clock::now() > deadline) kill_all(children, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return code;
}

}  // namespace

void add_launch_command(CLI::App& app) {
  struct Options {
    int processes = 2, threads = 0;
    std::vector<std::string> arguments;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("launch", "Run a command in several processes of this machine");
  command->add_option("--processes", options->processes, "how many")->capture_default_str();
  command->add_option("--threads", options->threads,
                      "processor threads of each (default: OMP_NUM_THREADS, or all of them divided)");
  command->add_option("command", options->arguments, "behind --: a command of introspect with its options");
  command->footer(
      "train, pretrain, dataset patching, dataset ablation, contexts, simulator train and reconstructor train share\n"
      "their work; docs/DISTRIBUTED.md has torchrun, mpirun and srun, and what is shared how. Ctrl-C reaches all; if\n"
      "one process fails the others are stopped, and its exit code is the command's.\n\n"
      "Example:\n"
      "  introspect launch --processes 2 -- train --model MODEL --dataset runs/patches --out runs/explainer");
  command->callback([options] {
    if (options->processes < 1 || options->processes > 1024 || options->threads < 0) {
      fail_usage("launch", fmt::format("got {} processes with {} threads, expected 1 to 1024 processes",
                                       options->processes, options->threads));
    }
    if (options->arguments.empty()) fail_usage("launch", "expected a command behind --", "introspect launch --help");
    std::vector<std::string> arguments{"introspect"};
    arguments.insert(arguments.end(), options->arguments.begin(), options->arguments.end());
    if (options->threads > 0) ::setenv("OMP_NUM_THREADS", std::to_string(options->threads).c_str(), 1);
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const int threads = std::max(1, cores / options->processes);
    std::signal(SIGINT, count_signal);
    std::signal(SIGTERM, count_signal);
    int code = 0;
    {
      const MeetingFolder folder;
      std::vector<Child> children;
      for (int rank = 0; rank < options->processes; ++rank) {
        children.push_back({start(rank, options->processes, threads, folder.path + "/store", arguments)});
      }
      code = wait_for(children);
    }
    if (code != 0) std::exit(code);
  });
}

}  // namespace introspect
