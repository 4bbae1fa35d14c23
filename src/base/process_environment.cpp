#include "base/process_environment.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>

namespace introspect {

namespace {

class Reader {
 public:
  explicit Reader(const std::function<const char*(const char*)>& variable) : variable_(variable) {}

  bool has(const char* name) const { return !text(name).empty(); }
  std::string text(const char* name) const {
    const char* value = variable_(name);
    return value ? value : "";
  }
  int number(const char* name, int least, int most) const {
    const std::string value = text(name);
    int result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size() || result < least || result > most) {
      fail_usage("distributed", fmt::format("{}: got '{}', expected a number from {} to {}", name, value, least, most));
    }
    return result;
  }
  int number_or(const char* name, int otherwise, int least, int most) const {
    return has(name) ? number(name, least, most) : otherwise;
  }

 private:
  const std::function<const char*(const char*)>& variable_;
};

constexpr int kMostProcesses = 1 << 16, kMostPorts = 65535;

// A port that all processes of a job derive from its name, below those that systems give to outgoing connections.
int port_of_job(const std::string& job) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return 20000 + static_cast<int>(hash % 12000);
}

World read_world(const Reader& read, const char* rank, const char* size, const char* local_rank,
                 const char* local_size) {
  World world;
  world.size = read.number(size, 1, kMostProcesses);
  world.rank = read.number(rank, 0, world.size - 1);
  // Told nothing of machines, we take every process to have one of its own: the safe choice for addresses.
  world.local_size = read.number_or(local_size, 1, 1, world.size);
  world.local_rank = read.number_or(local_rank, 0, 0, world.size - 1);
  return world;
}

// mpirun and srun say who the processes are; where they meet, MASTER_ADDR and MASTER_PORT may say.
void meet_at(const Reader& read, const std::string& host, const std::string& job, ProcessEnvironment& environment) {
  environment.host = read.has("MASTER_ADDR") ? read.text("MASTER_ADDR") : host;
  environment.port = read.has("MASTER_PORT") ? read.number("MASTER_PORT", 1, kMostPorts) : port_of_job(job);
}

void read_torchrun(const Reader& read, ProcessEnvironment& environment) {
  if (!read.has("RANK") || !read.has("WORLD_SIZE")) {
    const bool rank = read.has("RANK");
    fail_usage("distributed",
               fmt::format("{} is set and {} is not", rank ? "RANK" : "WORLD_SIZE", rank ? "WORLD_SIZE" : "RANK"),
               "unset it to run one process, or let torchrun or 'introspect launch' set both");
  }
  environment.world = read_world(read, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  environment.store_file = read.text("INTROSPECT_STORE");
  environment.starter = environment.store_file.empty() ? "torchrun" : "introspect launch";
  if (environment.world.size == 1 || !environment.store_file.empty()) return;
  if (!read.has("MASTER_ADDR") || !read.has("MASTER_PORT")) {
    fail_usage("distributed",
               fmt::format("WORLD_SIZE is {}, and MASTER_ADDR or MASTER_PORT is not set", environment.world.size),
               "torchrun sets both; by hand give the machine of process 0 and a free port on it");
  }
  meet_at(read, "", "", environment);
  environment.agent_store = read.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  environment.attempt = read.text("TORCHELASTIC_RESTART_COUNT");
}

void read_mpirun(const Reader& read, ProcessEnvironment& environment) {
  environment.starter = "mpirun";
  environment.world = read_world(read, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                                 "OMPI_COMM_WORLD_LOCAL_SIZE");
  if (environment.world.size == 1) return;
  if (!environment.one_machine() && !read.has("MASTER_ADDR")) {
    fail_usage("distributed", "mpirun started processes on several machines, and MASTER_ADDR is not set",
               "mpirun -x MASTER_ADDR=HOST-OF-PROCESS-0 -x MASTER_PORT=29500 introspect ...");
  }
  meet_at(read, "127.0.0.1", read.text("PMIX_NAMESPACE") + read.text("OMPI_MCA_ess_base_jobid"), environment);
}

void read_srun(const Reader& read, ProcessEnvironment& environment) {
  environment.starter = "srun";
  const char* size = read.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  environment.world = read_world(read, "SLURM_PROCID", size, "SLURM_LOCALID", "");
  if (environment.world.size == 1) return;
  int tasks = 1;  // of the first machine: "4(x2),3"
  const std::string tasks_per_node = read.text("SLURM_STEP_TASKS_PER_NODE");
  std::from_chars(tasks_per_node.data(), tasks_per_node.data() + tasks_per_node.size(), tasks);
  environment.world.local_size = std::clamp(tasks, environment.world.local_rank + 1, environment.world.size);
  const std::string host = first_host(read.text("SLURM_STEP_NODELIST"));
  meet_at(read, environment.one_machine() ? "127.0.0.1" : host,
          read.text("SLURM_JOB_ID") + "." + read.text("SLURM_STEP_ID"), environment);
}

}  // namespace

std::string first_host(const std::string& node_list) {
  std::string host;
  bool inside = false, skipped = false;  // brackets; behind the first number in them
  for (const char c : node_list) {
    if (c == ',' && !inside) break;
    if (c == '[') {
      inside = true;
    } else if (c == ']') {
      inside = skipped = false;
    } else {
      skipped = skipped || (inside && (c == ',' || c == '-'));
      if (!skipped) host += c;
    }
  }
  if (inside || host.empty()) {
    fail_usage("distributed", fmt::format("SLURM_STEP_NODELIST: got '{}', expected a list of hosts", node_list));
  }
  return host;
}

ProcessEnvironment read_process_environment(const std::function<const char*(const char*)>& variable) {
  const Reader read(variable);
  ProcessEnvironment environment;
  if (read.has("RANK") || read.has("WORLD_SIZE")) {
    read_torchrun(read, environment);
  } else if (read.has("OMPI_COMM_WORLD_SIZE")) {
    read_mpirun(read, environment);
  } else if (read.has("SLURM_PROCID") && read.has("SLURM_STEP_NODELIST")) {
    read_srun(read, environment);  // a script of sbatch, outside a step, is one process
  }
  return environment;
}

}  // namespace introspect
