// introspect: one program with subcommands. The only place that turns errors into exit codes:
// 0 done, 1 failure, 2 usage, 130 interrupted.
#include "base/distributed.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/process_environment.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "cli/commands.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

// Read by jemalloc where it is linked: keep freed pages for a minute. Training frees and takes the same sizes every
// step, and giving them back to the kernel in between cost a sixth of its time.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:60000,muzzy_decay_ms:60000";
}

namespace introspect {
namespace {

// Commands whose work several processes share.
constexpr std::string_view kShared[] = {"train",    "pretrain",        "dataset patching",   "dataset ablation",
                                        "contexts", "simulator train", "reconstructor train"};

std::string command_name(const CLI::App& app) {
  std::string name;
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    name += (name.empty() ? "" : " ") + at->get_name();
  }
  return name;
}

// Called once the command line is understood, and before the command runs.
void join(const CLI::App& app, const ProcessEnvironment& environment) {
  const std::string name = command_name(app);
  if (environment.world.size == 1) return;
  if (std::find(std::begin(kShared), std::end(kShared), name) == std::end(kShared)) {
    if (environment.world.rank > 0) throw CLI::RuntimeError(2);  // the first one says it
    fail_usage("distributed",
               fmt::format("'{}' runs in one process, and {} has started {}", name, environment.starter,
                           environment.world.size),
               "docs/DISTRIBUTED.md names the commands that several can share");
  }
  join_processes([rank = environment.world.rank, size = environment.world.size](const std::string& message) {
    std::fprintf(stderr, "introspect: process %d of %d: [distributed] %s\n", rank, size, message.c_str());
    std::_Exit(1);
  });
}

int run(int argc, char** argv) {
  ProcessEnvironment environment;
  std::string prefix = "introspect: ";
  const auto failed = [&](const char* message) {
    std::fprintf(stderr, "%s%s\n", prefix.c_str(), message);
    leave_processes(Ending::failed, message);
  };
  CLI::App app{"introspect: language models that explain their own computations"};
  app.set_version_flag("--version", INTROSPECT_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  add_run_commands(app);
  add_launch_command(app);
  add_tokenize_commands(app);
  add_chat_template_command(app);
  add_pretrain_command(app);
  add_forward_command(app);
  add_generate_command(app);
  add_model_commands(app);
  add_facts_command(app);
  add_ablate_command(app);
  add_questions_command(app);
  add_sae_commands(app);
  add_contexts_command(app);
  add_describe_commands(app);
  add_simulator_commands(app);
  add_reconstructor_commands(app);
  add_judge_command(app);
  add_step_commands(app);
  add_explain_command(app);
  add_evaluate_commands(app);
  add_project_command(app);
  try {
    environment = read_process_environment(::getenv);
    const World& world = environment.world;
    install_interrupt_handler(/*announce=*/world.rank == 0);
    use_all_processors(world.local_size);
    if (world.size > 1) prefix = fmt::format("introspect: process {} of {}: ", world.rank, world.size);
    if (world.rank > 0) {  // the first process speaks for all
      set_quiet(true);
      if (!std::freopen("/dev/null", "w", stdout)) fail("distributed", "cannot open /dev/null");
    }
    app.parse_complete_callback([&] { join(app, environment); });
    app.parse(argc, argv);
    leave_processes(Ending::done);
  } catch (const CLI::ParseError& error) {
    const int code = environment.world.rank == 0 ? app.exit(error) : error.get_exit_code();
    return code == 0 ? 0 : 2;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) {
      if (environment.world.rank == 0) std::fprintf(stderr, "introspect: %s\n", error.what());
      leave_processes(Ending::interrupted);
      return 130;
    }
    failed(error.what());
    return error.kind() == ErrorKind::usage ? 2 : 1;
  } catch (const std::exception& error) {
    failed(fmt::format("unexpected failure: {}", error.what()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  using namespace introspect;
  RunRecord::set_command(argc, argv);
  const int code = run(argc, argv);
  if (current_world().size > 1) {  // c10d's threads still run: no destructors under their feet
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}
