// The only file that knows c10d, and the versions of it: 1.13 to 2.x differ in the base class of backends and in what
// is installed with the library. ProcessGroupGloo.hpp needs Gloo's own headers (Debian: libgloo-dev).
#include "base/process_group.h"

#include "base/error.h"

#include <cstdlib>

#include <ATen/Functions.h>
#include <torch/version.h>
#if __has_include(<torch/csrc/distributed/c10d/TCPStore.hpp>)
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#define INTROSPECT_C10D
#endif
#if defined(INTROSPECT_C10D) && defined(USE_C10D_GLOO) && __has_include(<gloo/algorithm.h>)
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#define INTROSPECT_GLOO
#endif
#if defined(INTROSPECT_C10D) && defined(USE_C10D_NCCL) && __has_include(<nccl.h>)
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#define INTROSPECT_NCCL
#endif

namespace introspect {

#if defined(INTROSPECT_GLOO) || defined(INTROSPECT_NCCL)

namespace {

#if TORCH_VERSION_MAJOR >= 2
using Backend = c10d::Backend;
#else
using Backend = c10d::ProcessGroup;
#endif

// Nobody is given up for being slow: who is gone is noticed by other means (lifeline.h).
constexpr std::chrono::hours kPatience(24 * 7);

}  // namespace

struct ProcessGroup::State {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<Backend> processor, gpu;
  at::Device gpu_device{at::kCUDA, 0};

  // Runs on the backend of the tensor's memory; without one, on the other's, by a copy.
  template <class Operation>
  void run(at::Tensor tensor, const Operation& operation) {
    const auto& own = tensor.is_cuda() ? gpu : processor;
    if (own) {
      std::vector<at::Tensor> list{tensor};
      operation(*own, list)->wait();
      return;
    }
    const at::Tensor moved = tensor.to(tensor.is_cuda() ? at::Device(at::kCPU) : gpu_device);
    std::vector<at::Tensor> list{moved};
    operation(tensor.is_cuda() ? *processor : *gpu, list)->wait();
    tensor.copy_(moved);
  }
};

ProcessGroup::ProcessGroup(const ProcessEnvironment& environment, std::chrono::milliseconds timeout)
    : state_(std::make_unique<State>()) {
  const int size = environment.world.size;
  if (!environment.store_file.empty()) {
    state_->store = c10::make_intrusive<c10d::FileStore>(environment.store_file, size);
  } else {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(environment.port);
    options.isServer = environment.world.rank == 0 && !environment.agent_store;
    options.waitWorkers = false;
    options.timeout = timeout;
    state_->store = c10::make_intrusive<c10d::TCPStore>(environment.host, options);
  }
  if (!environment.attempt.empty()) {
    state_->store = c10::make_intrusive<c10d::PrefixStore>("introspect/attempt " + environment.attempt, state_->store);
  }
  state_->store->setTimeout(timeout);
}

void ProcessGroup::put(const std::string& key, const std::string& value) {
  state_->store->set(key, {value.begin(), value.end()});
}

bool ProcessGroup::get(const std::string& key, std::string& value) {
  if (!state_->store->check({key})) return false;
  const std::vector<uint8_t> bytes = state_->store->get(key);
  value.assign(bytes.begin(), bytes.end());
  return true;
}

void ProcessGroup::connect(const ProcessEnvironment& environment) {
  const World& world = environment.world;
  state_->store->setTimeout(kPatience);
#ifdef INTROSPECT_GLOO
  auto options = c10d::ProcessGroupGloo::Options::create(kPatience);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface                   ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                             : environment.one_machine() ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                                         : c10d::ProcessGroupGloo::createDefaultDevice());
  state_->processor = c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>("gloo", state_->store), world.rank, world.size, options);
#endif
#ifdef INTROSPECT_NCCL
  if (at::hasCUDA()) {
    auto nccl = c10d::ProcessGroupNCCL::Options::create();
    nccl->timeout = kPatience;
    state_->gpu_device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank));
    state_->gpu = c10::make_intrusive<c10d::ProcessGroupNCCL>(
        c10::make_intrusive<c10d::PrefixStore>("nccl", state_->store), world.rank, world.size, nccl);
  }
#endif
  if (!state_->processor && !state_->gpu) {
    fail("distributed", "this program's libtorch has no means that works here: neither Gloo nor a GPU for NCCL",
         "build with Gloo's headers (Debian: libgloo-dev)");
  }
}

void ProcessGroup::sum(at::Tensor tensor) {
  state_->run(tensor, [](Backend& backend, std::vector<at::Tensor>& list) { return backend.allreduce(list); });
}

void ProcessGroup::broadcast_from_first(at::Tensor tensor) {
  state_->run(tensor, [](Backend& backend, std::vector<at::Tensor>& list) { return backend.broadcast(list); });
}

#else

struct ProcessGroup::State {};

ProcessGroup::ProcessGroup(const ProcessEnvironment& environment, std::chrono::milliseconds) {
  fail("distributed",
       fmt::format("{} asks for {} processes, and this program was built without c10d, Gloo and NCCL",
                   environment.starter, environment.world.size),
       "build with a libtorch that has them and Gloo's headers (Debian: libgloo-dev)");
}
void ProcessGroup::put(const std::string&, const std::string&) {}
bool ProcessGroup::get(const std::string&, std::string&) {
  return false;
}
void ProcessGroup::connect(const ProcessEnvironment&) {}
void ProcessGroup::sum(at::Tensor) {}
void ProcessGroup::broadcast_from_first(at::Tensor) {}

#endif

ProcessGroup::~ProcessGroup() = default;

}  // namespace introspect
