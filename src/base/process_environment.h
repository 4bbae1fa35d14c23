// What the environment says of the processes that were started together.
#pragma once

#include "base/distributed.h"

#include <functional>
#include <string>

namespace introspect {

// Where and how the processes of a world meet.
struct ProcessEnvironment {
  World world;
  std::string starter;     // "torchrun", "mpirun", "srun", "introspect launch"; empty: a process by itself
  std::string store_file;  // launch: they meet through this file, and host and port are unused
  std::string host;        // of process 0
  int port = 0;
  bool agent_store = false;  // torchrun's own server answers there already
  std::string attempt;       // torchrun: tells restarts apart
  bool one_machine() const { return world.local_size == world.size; }
};

// Reads, in this order: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT (torchrun; with
// INTROSPECT_STORE instead of an address: launch); OMPI_COMM_WORLD_* (mpirun); SLURM_PROCID and its like inside a job
// step (srun). MASTER_ADDR and MASTER_PORT overrule what mpirun's and srun's variables say of the meeting place.
// Throws Error(usage) for values that contradict each other. `variable` gives a variable's value or null (getenv).
ProcessEnvironment read_process_environment(const std::function<const char*(const char*)>& variable);

// The first host of Slurm's notation: "gpu[003-007,9],other" is gpu003.
std::string first_host(const std::string& node_list);

}  // namespace introspect
