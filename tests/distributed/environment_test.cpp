// What the environment variables of torchrun, mpirun, srun and 'introspect launch' say.
#include "base/process_environment.h"
#include "base/temporary_folder.h"

#include <map>

namespace introspect {
namespace {

using Variables = std::map<std::string, std::string>;

ProcessEnvironment read(const Variables& variables) {
  return read_process_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

const Variables kTorchrun = {{"RANK", "3"},        {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29501"}};
const Variables kMpirun = {{"OMPI_COMM_WORLD_RANK", "1"},
                           {"OMPI_COMM_WORLD_SIZE", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                           {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                           {"PMIX_NAMESPACE", "1234"}};
const Variables kSrun = {{"SLURM_PROCID", "5"},
                         {"SLURM_STEP_NUM_TASKS", "8"},
                         {"SLURM_NTASKS", "16"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"},
                         {"SLURM_STEP_NODELIST", "gpu[003-004]"},
                         {"SLURM_JOB_ID", "77"},
                         {"SLURM_STEP_ID", "0"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

TEST(ProcessEnvironment, NothingIsAWorldOfOne) {
  for (const Variables& variables : {Variables{}, Variables{{"RANK", ""}},
                                     // a script of sbatch, and an interactive shell outside a step
                                     Variables{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}}) {
    EXPECT_EQ(read(variables).world.size, 1);
    EXPECT_EQ(read(variables).world.rank, 0);
  }
}

TEST(ProcessEnvironment, Torchrun) {
  const ProcessEnvironment made = read(kTorchrun);
  EXPECT_EQ(made.world.rank, 3);
  EXPECT_EQ(made.world.size, 4);
  EXPECT_EQ(made.world.local_rank, 1);
  EXPECT_EQ(made.world.local_size, 2);
  EXPECT_EQ(made.host, "a");
  EXPECT_EQ(made.port, 29501);
  EXPECT_FALSE(made.agent_store);
  EXPECT_FALSE(made.one_machine());
  EXPECT_TRUE(read(with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True")).agent_store);
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).world.size, 1);
}

TEST(ProcessEnvironment, Launch) {
  const ProcessEnvironment made =
      read({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "2"}, {"INTROSPECT_STORE", "/tmp/store"}});
  EXPECT_EQ(made.store_file, "/tmp/store");
  EXPECT_EQ(made.starter, "introspect launch");
  EXPECT_TRUE(made.one_machine());
}

TEST(ProcessEnvironment, Mpirun) {
  const ProcessEnvironment made = read(kMpirun);
  EXPECT_EQ(made.world.rank, 1);
  EXPECT_EQ(made.world.size, 2);
  EXPECT_EQ(made.host, "127.0.0.1");
  // the same for all processes of a job, another for another job
  EXPECT_EQ(made.port, read(with(kMpirun, "OMPI_COMM_WORLD_RANK", "0")).port);
  EXPECT_NE(made.port, read(with(kMpirun, "PMIX_NAMESPACE", "1235")).port);
  EXPECT_GE(made.port, 20000);
  EXPECT_LT(made.port, 32000);
  const Variables two_machines = with(kMpirun, "OMPI_COMM_WORLD_LOCAL_SIZE", "1");
  EXPECT_TRUE(holds(error_of([&] { read(two_machines); }), "mpirun -x MASTER_ADDR"));
  EXPECT_EQ(read(with(two_machines, "MASTER_ADDR", "head")).host, "head");
}

TEST(ProcessEnvironment, Srun) {
  const ProcessEnvironment made = read(kSrun);
  EXPECT_EQ(made.world.rank, 5);
  EXPECT_EQ(made.world.size, 8);  // the step's, not the job's
  EXPECT_EQ(made.world.local_size, 4);
  EXPECT_EQ(made.host, "gpu003");
  EXPECT_NE(made.port, read(with(kSrun, "SLURM_STEP_ID", "1")).port);
  EXPECT_EQ(read(with(kSrun, "MASTER_PORT", "31000")).port, 31000);
  EXPECT_EQ(read(with(kSrun, "SLURM_STEP_TASKS_PER_NODE", "8")).host, "127.0.0.1");
}

TEST(ProcessEnvironment, FirstHost) {
  const std::pair<const char*, const char*> cases[] = {{"one", "one"},
                                                       {"one,two", "one"},
                                                       {"gpu[003-007,9],other", "gpu003"},
                                                       {"gpu[12]", "gpu12"},
                                                       {"a,gpu[1-2]", "a"},
                                                       {"rack[1-2]-node[05,07]", "rack1-node05"},
                                                       {"n[1,3].site.org", "n1.site.org"}};
  for (const auto& [list, host] : cases) EXPECT_EQ(first_host(list), host) << list;
  EXPECT_TRUE(holds(error_of([] { first_host("gpu[1-2"); }), "gpu[1-2"));
}

TEST(ProcessEnvironment, WhatContradictsItselfIsAnError) {
  const std::pair<Variables, const char*> cases[] = {
      {{{"RANK", "1"}}, "WORLD_SIZE is not"},
      {{{"WORLD_SIZE", "2"}}, "RANK is not"},
      {with(kTorchrun, "RANK", "4"), "RANK: got '4', expected a number from 0 to 3"},
      {with(kTorchrun, "WORLD_SIZE", "many"), "'many'"},
      {with(kTorchrun, "WORLD_SIZE", "0"), "WORLD_SIZE"},
      {with(kTorchrun, "MASTER_PORT", "70000"), "MASTER_PORT"},
      {with(kTorchrun, "MASTER_ADDR", ""), "MASTER_ADDR or MASTER_PORT is not set"},
      {with(kMpirun, "OMPI_COMM_WORLD_RANK", "2"), "OMPI_COMM_WORLD_RANK"},
      {with(kSrun, "SLURM_PROCID", "-1"), "SLURM_PROCID"},
      {with(kSrun, "SLURM_STEP_NODELIST", "gpu[1"), "gpu[1"}};
  for (const auto& [variables, part] : cases) {
    EXPECT_TRUE(holds(error_of([&, &given = variables] { read(given); }), part));
  }
}

}  // namespace
}  // namespace introspect
