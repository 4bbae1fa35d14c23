// A step writes one folder. run.json in it says which command made it from what, and, written last, that it is
// complete.
#pragma once

#include "base/json.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace introspect {

struct RunInput {
  std::string name;  // "target", "records", ...
  fs::path path;     // a file or a folder; its hash goes into the record
};

// How a step is begun: compares `settings` and the hashes of `inputs` with <folder>/run.json.
//   complete:  run.json says complete, with the same settings and inputs: nothing is to be done
//   resume:    run.json says unfinished, with the same settings and inputs: the step may use what is there
//   fresh:     the folder is new, or `overwrite` was given: work of other settings is then removed, except subfolders
//              with a run.json of their own and inputs. Without `overwrite` work of other settings, finished or not,
//              is an Error with a hint.
// Where an input lies does not matter, only its hash (files.h: fingerprint_file, sha256_folder).
// Of several processes (distributed.h) the first alone hashes and writes; the others are told what it found.
enum class StepState { fresh, resume, complete };

class RunRecord {
 public:
  // Creates the folder and writes run.json with "status": "running". `settings` must hold everything that
  // determines the output (resolved settings, seeds). Throws Error as said above.
  RunRecord(const fs::path& folder, const std::string& step, const Json& settings, const std::vector<RunInput>& inputs,
            bool overwrite = false);
  StepState state() const { return state_; }
  const fs::path& folder() const { return folder_; }

  void add(const std::string& key, const Json& value);  // a result worth keeping in the record ("counts", "loss")
  Json result(const std::string& key) const;            // what was added, now or by the run before; null if nothing
  void complete();                                      // status "complete", wall time; written atomically

  // The command line of this process, set once by main.
  static void set_command(int argc, char** argv);

 private:
  void begin(const std::string& step, const Json& settings, const std::vector<RunInput>& inputs, bool overwrite);
  fs::path folder_;
  StepState state_ = StepState::fresh;
  struct Held;  // keeps nlohmann/json.hpp out of this header
  std::shared_ptr<Held> held_;
};

}  // namespace introspect
