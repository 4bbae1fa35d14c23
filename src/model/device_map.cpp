#include "model/device_map.h"

#include "base/error.h"

#include <charconv>

#include <c10/util/Exception.h>

namespace introspect {

namespace {

// "a=b,c=d"; what stands behind "=" is empty where there is none.
std::vector<std::pair<std::string, std::string>> parts_of(const std::string& text, const std::string& option) {
  std::vector<std::pair<std::string, std::string>> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, comma - begin);
    const size_t equals = part.find('=');
    parts.emplace_back(part.substr(0, equals), equals == std::string::npos ? "" : part.substr(equals + 1));
    if (parts.back().first.empty()) {
      fail_usage(option, fmt::format("got '{}', expected DEVICE=... parts with commas between them", text));
    }
    begin = comma + 1;
  }
  return parts;
}

at::Device device_of(const std::string& name, const std::string& option) {
  try {
    const at::Device device(name);
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {
    // said below
  }
  fail_usage(option, fmt::format("got device '{}', expected cpu, cuda or cuda:0 and so on", name));
}

}  // namespace

std::vector<at::Device> parse_device_map(const std::string& text, int64_t layers) {
  const std::string option = "device-map";
  const auto parts = parts_of(text, option);
  std::vector<at::Device> devices;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [name, number] = parts[i];
    const at::Device device = device_of(name, option);
    const int64_t left = layers - std::ssize(devices);
    int64_t count = left;
    const bool alone = number.empty() && parts.size() == 1;
    if (!alone && number != "rest") {
      const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), count);
      if (number.empty() || error != std::errc() || stop != number.data() + number.size() || count < 1) {
        fail_usage(option, fmt::format("{}: got '{}', expected a number of layers, or rest", name, number),
                   "as in cuda:0=20,cuda:1=rest");
      }
    } else if (i + 1 < parts.size()) {
      fail_usage(option, fmt::format("{}=rest: expected at the end only, got '{}'", name, text));
    }
    if (count > left || count < 1) {
      fail_usage(option, fmt::format("{}: {} layers are given out before, the model has {} ({})", name,
                                     std::ssize(devices) + (count > left ? count : 0), layers, text));
    }
    devices.insert(devices.end(), count, device);
  }
  if (std::ssize(devices) < layers) {
    fail_usage(option, fmt::format("got '{}', which is {} of the model's {} layers", text, devices.size(), layers),
               "end with DEVICE=rest");
  }
  return devices;
}

uint64_t parse_size(const std::string& text, const std::string& option) {
  constexpr std::pair<const char*, double> units[] = {{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}};
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  for (const auto& [unit, bytes] : units) {
    if (error == std::errc() && std::string(stop, end) == unit && number > 0 && number * bytes < 9e18) {
      return static_cast<uint64_t>(number * bytes);
    }
  }
  fail_usage(option, fmt::format("got '{}', expected a size such as 24GB or 500MB", text));
}

std::vector<DeviceMemory> parse_device_memory(const std::string& text) {
  std::vector<DeviceMemory> devices;
  for (const auto& [name, size] : parts_of(text, "memory")) {
    devices.push_back({device_of(name, "memory"), parse_size(size, "memory")});
  }
  return devices;
}

std::string place_layers(int64_t layers, uint64_t first, uint64_t layer, uint64_t last,
                         const std::vector<DeviceMemory>& devices) {
  std::string text;
  int64_t placed = 0;
  for (const DeviceMemory& each : devices) {
    uint64_t room = each.bytes;
    if (placed == 0) room = room > first ? room - first : 0;
    int64_t count = std::min(layers - placed, static_cast<int64_t>(room / layer));
    // the last layer brings norm and head with it: where they do not fit too, it goes to the next device
    if (count == layers - placed && room - static_cast<uint64_t>(count) * layer < last) --count;
    if (count < 1) continue;
    placed += count;
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", each.device.str(), count);
    if (placed == layers) return text;
  }
  const uint64_t missing = static_cast<uint64_t>(layers - placed) * layer + (placed == 0 ? first : 0) + last;
  fail("device-map",
       fmt::format("{} of {} layers find no room, which with what goes with them are {:.2f} GB", layers - placed,
                   layers, static_cast<double>(missing) / 1e9),
       "name another device in --memory (such as cpu=64GB), or take a narrower --dtype");
}

}  // namespace introspect
