// introspect facts: what a model knows of a fact table.
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "model/model.h"
#include "procedure/fact_check.h"
#include "text/tokenizer.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

namespace introspect {

void add_facts_command(CLI::App& app) {
  struct Options {
    std::string model, records;
    int64_t limit = 0, seed = 1;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("facts", "How many facts of a table a model knows, said and chosen");
  command->add_option("MODEL", options->model, "model folder")->required();
  command->add_option("--records", options->records, "facts: a folder, .json, .jsonl or .csv")->required();
  command->add_option("--limit", options->limit, "only so many facts, drawn at random (default: all)");
  command->add_option("--seed", options->seed, "draws facts, templates and options")->capture_default_str();
  command->add_flag("--json", options->json, "by relation, as JSON");
  command->footer("Example: introspect facts models/tiny-llama --records facts");
  command->callback([options] {
    const Model model = load_model(options->model);
    const Tokenizer tokenizer = Tokenizer::open(options->model);
    std::unique_ptr<Progress> progress;
    const auto accuracy =
        check_facts(model, tokenizer, read_facts(options->records), static_cast<uint64_t>(options->seed),
                    options->limit, [&](int64_t done, int64_t total) {
                      if (!progress) progress = std::make_unique<Progress>("facts", total, "facts");
                      progress->set(done);
                    });
    if (progress) progress->finish();
    Json json = Json::object();
    for (const auto& [name, each] : accuracy) {
      const auto percent = [&](int64_t right) {
        return 100.0 * static_cast<double>(right) / static_cast<double>(each.facts);
      };
      const std::string label = name.empty() ? "all" : name;
      json[label] = {
          {"facts", each.facts}, {"statements_right", each.statements_right}, {"options_right", each.options_right}};
      if (!options->json) {
        std::printf("%-24s %6lld facts  statements %5.1f%%  options %5.1f%%\n", label.c_str(),
                    static_cast<long long>(each.facts), percent(each.statements_right), percent(each.options_right));
      }
    }
    if (options->json) std::printf("%s\n", json.dump(2).c_str());
  });
}

}  // namespace introspect
