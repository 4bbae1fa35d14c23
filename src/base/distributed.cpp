#include "base/distributed.h"

#include "base/error.h"
#include "base/lifeline.h"
#include "base/process_group.h"
#include "base/progress.h"

#include <cstdlib>
#include <optional>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBucket = int64_t{1} << 24;  // numbers summed at once: 64 MB

// All that a process of a larger world has; nothing in a world of one.
struct Company {
  World world;
  std::optional<ProcessGroup> group;
  Lifeline lifeline;
};

Company& company() {
  static Company one;
  return one;
}

int connect_seconds() {
  const char* text = std::getenv("INTROSPECT_CONNECT_SECONDS");
  const int seconds = text ? std::atoi(text) : 120;
  if (seconds < 1)
    fail_usage("distributed", fmt::format("INTROSPECT_CONNECT_SECONDS: got '{}', expected seconds", text));
  return seconds;
}

std::string meeting_place(const ProcessEnvironment& environment) {
  return environment.store_file.empty() ? fmt::format("{}:{}", environment.host, environment.port)
                                        : environment.store_file;
}

// c10d's errors hold a trace of its own functions behind the first line.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

// The store; its server is waited for.
void open_store(const ProcessEnvironment& environment, Clock::time_point deadline, std::optional<ProcessGroup>& group) {
  const bool server = environment.world.rank == 0 && !environment.agent_store;
  const bool over_network = environment.store_file.empty();
  try {
    // asked for by ourselves, since c10d would fill the terminal with its attempts
    while (over_network && !server && !Lifeline::answers(environment.host, environment.port)) {
      check_interrupt("distributed");
      if (Clock::now() >= deadline) fail("distributed", "nobody answers");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    group.emplace(environment, std::chrono::seconds(connect_seconds()));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted || !over_network || server) throw;
    fail("distributed",
         fmt::format("process {} of {} cannot reach process 0 at {} within {} s", environment.world.rank,
                     environment.world.size, meeting_place(environment), connect_seconds()),
         "was process 0 started, and are MASTER_ADDR and MASTER_PORT the same for all? "
         "INTROSPECT_CONNECT_SECONDS waits longer");
  } catch (const std::exception& error) {
    const std::string place = meeting_place(environment);
    fail("distributed",
         server ? fmt::format("process 0 cannot listen at {}: {}", place, first_line(error))
                : fmt::format("process {} cannot meet the others at {}: {}", environment.world.rank, place,
                              first_line(error)),
         over_network ? "another program may use this port: set MASTER_PORT to a free one for all processes" : "");
  }
}

void meet(const ProcessEnvironment& environment, Company& all) {
  const auto deadline = Clock::now() + std::chrono::seconds(connect_seconds());
  open_store(environment, deadline, all.group);
  const World& world = environment.world;
  if (world.rank == 0) {
    all.group->put("lifeline", std::to_string(all.lifeline.listen()));
    all.lifeline.meet(world, "", 0, deadline);
    return;
  }
  std::string port;
  while (!all.group->get("lifeline", port)) {
    check_interrupt("distributed");
    if (Clock::now() >= deadline) {
      fail("distributed",
           fmt::format("process {} of {}: process 0 did not come to {} within {} s", world.rank, world.size,
                       meeting_place(environment), connect_seconds()),
           "was it started? INTROSPECT_CONNECT_SECONDS waits longer");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const bool near = environment.one_machine() || environment.host.empty();
  all.lifeline.meet(world, near ? "127.0.0.1" : environment.host, std::stoi(port), deadline);
}

// Runs what exchanges something. If it breaks, another process is the cause, and its own words say more than c10d's.
template <class Operation>
void together(const Operation& operation) {
  Company& all = company();
  try {
    operation(*all.group);
  } catch (const std::exception& error) {
    const std::string loss = all.lifeline.loss(std::chrono::seconds(10));
    if (all.lifeline.stopped()) check_interrupt("distributed");
    fail("distributed", loss.empty() ? "the connection to another process broke: " + first_line(error) : loss,
         "what is complete is kept: run the same command again");
  }
}

void sum_bucket(const std::vector<at::Tensor>& tensors) {
  if (tensors.size() == 1 && tensors[0].scalar_type() == at::kFloat && tensors[0].is_contiguous()) {
    return together([&](ProcessGroup& group) { group.sum(tensors[0]); });
  }
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.reshape(-1).to(at::kFloat));
  const at::Tensor bucket = at::cat(flat);
  together([&](ProcessGroup& group) { group.sum(bucket); });
  int64_t first = 0;
  for (const at::Tensor& tensor : tensors) {
    tensor.copy_(bucket.narrow(0, first, tensor.numel()).view(tensor.sizes()));
    first += tensor.numel();
  }
}

}  // namespace

const World& current_world() {
  return company().world;
}

void join_processes(std::function<void(const std::string& message)> on_loss) {
  const ProcessEnvironment environment = read_process_environment(::getenv);
  if (environment.world.size == 1) return;
  Company& all = company();
  meet(environment, all);
  all.world = environment.world;
  all.lifeline.watch(std::move(on_loss));
  together([&](ProcessGroup& group) { group.connect(environment); });
}

void leave_processes(Ending ending, const std::string& message) {
  if (current_world().size == 1) return;
  company().lifeline.leave(ending, message);
}

void sum_over_processes(const std::vector<at::Tensor>& tensors) {
  if (current_world().size == 1) return;
  c10::NoGradGuard no_gradients;
  std::vector<at::Tensor> bucket;
  int64_t size = 0;
  for (const at::Tensor& tensor : tensors) {
    if (!bucket.empty() && (size + tensor.numel() > kBucket || tensor.device() != bucket[0].device())) {
      sum_bucket(bucket);
      bucket.clear();
      size = 0;
    }
    bucket.push_back(tensor);
    size += tensor.numel();
  }
  if (!bucket.empty()) sum_bucket(bucket);
}

std::vector<double> sum_over_processes(std::vector<double> values) {
  if (current_world().size == 1 || values.empty()) return values;
  const at::Tensor tensor = at::from_blob(values.data(), {std::ssize(values)}, at::kDouble);
  together([&](ProcessGroup& group) { group.sum(tensor); });
  return values;
}

double sum_over_processes(double value) {
  return sum_over_processes(std::vector<double>{value})[0];
}

std::string from_first_process(const std::string& text) {
  if (current_world().size == 1) return text;
  at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  together([&](ProcessGroup& group) { group.broadcast_from_first(length); });
  std::string result = text;
  result.resize(static_cast<size_t>(length.item<int64_t>()));
  if (result.empty()) return result;
  const at::Tensor bytes = at::from_blob(result.data(), {std::ssize(result)}, at::kByte);
  together([&](ProcessGroup& group) { group.broadcast_from_first(bytes); });
  return result;
}

void wait_for_processes() {
  sum_over_processes(0.0);
}

bool interrupted_together() {
  const bool any = sum_over_processes(interrupted() ? 1.0 : 0.0) > 0;
  if (any) raise_interrupt();
  return any;
}

}  // namespace introspect
