// introspect: one program with subcommands. The only place that turns errors into exit codes:
// 0 done, 1 failure, 2 usage, 130 interrupted.
#include "base/error.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "cli/commands.h"

#include <cstdio>
#include <exception>

// Read by jemalloc where it is linked: keep freed pages for a minute. Training frees and takes the same sizes every
// step, and giving them back to the kernel in between cost a sixth of its time.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:60000,muzzy_decay_ms:60000";
}

int main(int argc, char** argv) {
  using namespace introspect;
  RunRecord::set_command(argc, argv);
  install_interrupt_handler();
  use_all_processors();
  CLI::App app{"introspect: language models that explain their own computations"};
  app.set_version_flag("--version", INTROSPECT_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  add_run_commands(app);
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
  add_parquet_command(app);
  add_judge_command(app);
  add_step_commands(app);
  add_explain_command(app);
  add_explainer_commands(app);
  add_evaluate_commands(app);
  add_project_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  } catch (const Error& error) {
    std::fprintf(stderr, "introspect: %s\n", error.what());
    return error.kind() == ErrorKind::usage ? 2 : error.kind() == ErrorKind::interrupted ? 130 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "introspect: unexpected failure: %s\n", error.what());
    return 1;
  }
  return 0;
}
