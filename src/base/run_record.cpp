#include "base/run_record.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/files.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <utility>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

namespace introspect {

namespace {

std::vector<std::string> command_line;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string utc_text() {  // 2024-05-01T12:00:00Z
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    // "model name" on x86; ARM has no name there, only the numbers of its parts.
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(std::min(colon + 2, line.size()));
    }
  }
  return "unknown";
}

std::string text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Settings are equal if they mean the same: the order of keys does not matter, and 1 equals 1.0.
bool same(const Json& left, const Json& right) {
  return nlohmann::json::parse(text_of(left)) == nlohmann::json::parse(text_of(right));
}

// Names the first setting that differs: a record of fifty settings is no help by itself.
std::string difference(const Json& then, const Json& now) {
  if (then.is_object() && now.is_object()) {
    for (const auto& [key, value] : now.items()) {
      const auto found = then.find(key);
      if (found == then.end()) return fmt::format("'{}' was not set, now it is {}", key, text_of(value));
      if (!same(*found, value)) return fmt::format("'{}' was {}, now it is {}", key, text_of(*found), text_of(value));
    }
    for (const auto& [key, value] : then.items()) {
      if (!now.contains(key)) return fmt::format("'{}' was {}, now it is not set", key, text_of(value));
    }
  }
  return fmt::format("they were {}, now they are {}", text_of(then), text_of(now));
}

// What differs between a record and the step to be run; empty if nothing does.
std::string difference_of_runs(const Json& record, const std::string& step, const Json& settings, const Json& inputs) {
  if (record["step"] != step) return fmt::format("it is from step {}, not '{}'", text_of(record["step"]), step);
  if (!same(record["settings"], settings)) return "settings: " + difference(record["settings"], settings);
  const auto by_name = [](const Json& list) {
    Json hashes = Json::object();
    for (const Json& input : list) hashes[input["name"].get<std::string>()] = input["sha256"];
    return hashes;
  };
  const Json then = by_name(record["inputs"]), now = by_name(inputs);
  return same(then, now) ? "" : "inputs: " + difference(then, now);
}

Json describe_inputs(const std::vector<RunInput>& inputs) {
  Json list = Json::array();
  for (const RunInput& input : inputs) {
    std::error_code ignored;
    if (!fs::exists(input.path, ignored)) {
      fail("run record", fmt::format("input '{}' does not exist ({})", input.name, input.path.string()),
           "run the step that makes it first, or check the path");
    }
    const std::string hash =
        fs::is_directory(input.path, ignored) ? sha256_folder(input.path) : fingerprint_file(input.path);
    list.push_back({{"name", input.name}, {"path", fs::absolute(input.path).string()}, {"sha256", hash}});
  }
  return list;
}

// The record of an earlier run, with the fields that are used below; null if there is none.
Json read_record(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  Json record = read_json(path);
  json_get<std::string>(record, "status", path.string());
  json_get<std::string>(record, "step", path.string());
  json_get_or<double>(record, "seconds", 0, path.string());
  json_get_or<int64_t>(record, "resumed", 0, path.string());
  bool good = record.contains("settings") && record.contains("inputs") && record["inputs"].is_array();
  if (good) {
    for (const Json& input : record["inputs"]) {
      json_get<std::string>(input, "name", path.string());
      json_get<std::string>(input, "sha256", path.string());
    }
  }
  if (!good) fail("run record", fmt::format("'settings' or 'inputs' are missing ({})", path.string()));
  return record;
}

// Clears a folder for a fresh start. Left-overs must go: after a crash the next run would take them for its own.
// run.json stays, to be replaced in one piece.
void remove_work(const fs::path& folder, const std::vector<RunInput>& inputs) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const bool other_step = entry.is_directory() && fs::exists(entry.path() / "run.json");
    bool needed = other_step || entry.path().filename() == "run.json";
    for (const RunInput& input : inputs) {
      const std::string inside = fs::weakly_canonical(input.path).lexically_relative(fs::canonical(folder)).string();
      // An input under `folder` has a relative path that begins with the entry's name.
      needed = needed || *fs::path(inside).begin() == entry.path().filename();
    }
    if (!needed) fs::remove_all(entry.path());
  }
}

}  // namespace

struct RunRecord::Held {
  Json record = Json::object();
  double start = now_seconds();
  double earlier_seconds = 0;  // of the attempts that were interrupted

  void save(const fs::path& folder) {
    if (!first_process()) return;
    record["seconds"] = earlier_seconds + now_seconds() - start;
    write_json(folder / "run.json", record);
  }
};

RunRecord::RunRecord(const fs::path& folder, const std::string& step, const Json& settings,
                     const std::vector<RunInput>& inputs, bool overwrite)
    : folder_(folder), held_(std::make_shared<Held>()) {
  if (first_process()) begin(step, settings, inputs, overwrite);
  if (current_world().size == 1) return;
  const Json told = nlohmann::json::parse(
      from_first_process(text_of({{"state", static_cast<int>(state_)}, {"record", held_->record}})));
  state_ = static_cast<StepState>(told["state"].get<int>());
  held_->record = told["record"];
}

void RunRecord::begin(const std::string& step, const Json& settings, const std::vector<RunInput>& inputs,
                      bool overwrite) {
  const fs::path& folder = folder_;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("run record", fmt::format("cannot create the folder: {} ({})", error.message(), folder.string()));
  const Json described = describe_inputs(inputs);
  const Json earlier = read_record(folder / "run.json");

  if (!earlier.is_null()) {
    const bool finished = earlier["status"] == "complete";
    const std::string differs = difference_of_runs(earlier, step, settings, described);
    if (differs.empty() && finished) {
      state_ = StepState::complete;
      held_->record = earlier;
      return;
    }
    if (differs.empty()) {
      state_ = StepState::resume;
    } else if (!overwrite) {
      fail("run record",
           fmt::format("the folder holds {} work of another run: {} ({})", finished ? "finished" : "unfinished",
                       differs, folder.string()),
           "choose another folder, or add --overwrite to replace what is there");
    } else {
      // Should the process end while files go, what is left must not count as finished.
      Json unfinished = earlier;
      unfinished["status"] = "running";
      write_json(folder / "run.json", unfinished);
      try {
        remove_work(folder, inputs);
      } catch (const fs::filesystem_error& problem) {
        fail("run record",
             fmt::format("cannot remove earlier work: {} ({})", problem.code().message(), problem.path1().string()));
      }
    }
  }

  Json& record = held_->record;
  record["step"] = step;
  record["status"] = "running";
  record["command"] = command_line;
  record["settings"] = settings;
  record["inputs"] = described;
  record["version"] = INTROSPECT_VERSION;
  record["libtorch"] = TORCH_VERSION;
  record["device"] = {
      {"processor", processor_name()}, {"threads", at::get_num_threads()}, {"processes", current_world().size}};
  record["started"] = utc_text();
  if (state_ == StepState::resume) {
    // What earlier attempts found, and the time they took, stay in the record.
    if (earlier.contains("started")) record["started"] = earlier["started"];
    record["resumed"] = json_get_or<int64_t>(earlier, "resumed", 0, "run.json") + 1;
    held_->earlier_seconds = json_get_or<double>(earlier, "seconds", 0, "run.json");
    if (earlier.contains("results") && earlier["results"].is_object()) record["results"] = earlier["results"];
  }
  held_->save(folder_);
}

void RunRecord::add(const std::string& key, const Json& value) {
  if (state_ == StepState::complete) return;  // the record of a finished step stays as it is
  held_->record["results"][key] = value;
  held_->save(folder_);
}

Json RunRecord::result(const std::string& key) const {
  const Json& record = held_->record;
  return record.contains("results") && record["results"].contains(key) ? record["results"][key] : Json();
}

void RunRecord::complete() {
  if (state_ == StepState::complete) return;
  held_->record["status"] = "complete";
  held_->record["finished"] = utc_text();
  held_->save(folder_);
}

void RunRecord::set_command(int argc, char** argv) {
  command_line.assign(argv, argv + argc);
}

}  // namespace introspect
