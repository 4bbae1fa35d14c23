// introspect describe score: can a reader of the descriptions tell where the features fire? Detection and fuzzing, with
// a chat model or the library's exact simulator as the reader.
#include "base/error.h"
#include "base/progress.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "evaluate/chat_detection.h"
#include "feature/context_store.h"
#include "feature/descriptions.h"
#include "feature/symbolic_simulator.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

namespace introspect {

namespace {

struct Options {
  std::string target, descriptions, contexts, out;
  ChatOptions chat;
  ChatDetectionSettings settings;
  bool offline = false, json = false;
  int64_t limit = 0;
};

struct Scored {
  DetectionSummary detection, fuzzing;
  int64_t refused = 0;
};

// The same features with each the description of the next one: what a reader tells who knows nothing of the feature.
std::vector<DescribedContexts> with_other_descriptions(const std::vector<DescribedContexts>& features) {
  std::vector<DescribedContexts> others = features;
  for (size_t i = 0; i < features.size(); ++i) {
    for (size_t step = 1; step < features.size(); ++step) {
      const std::string& other = features[(i + step) % features.size()].description;
      if (other == features[i].description) continue;
      others[i].description = other;
      break;
    }
  }
  return others;
}

Scored score_exactly(const std::vector<DescribedContexts>& features, const Simulator& simulator,
                     const DetectionSettings& settings) {
  std::vector<DetectionScore> detection, fuzzing;
  Progress progress("score", std::ssize(features), "feature");
  for (const DescribedContexts& each : features) {
    check_interrupt("describe");
    detection.push_back(detection_score(each.description, each.contexts, simulator, settings));
    fuzzing.push_back(fuzzing_score(each.description, each.contexts, simulator, settings));
    progress.advance();
  }
  progress.finish();
  return {summarise(detection), summarise(fuzzing), 0};
}

Scored score_by_asking(ChatModel& model, const Tokenizer& tokenizer, const std::vector<DescribedContexts>& features,
                       const ChatDetectionSettings& settings) {
  Scored scored;
  int64_t refused = 0;
  const auto ask = [&](DetectionQuestion kind) {
    const DetectionSummary summary = summarise(chat_detection(model, tokenizer, features, kind, settings, refused));
    scored.refused += refused;
    return summary;
  };
  scored.detection = ask(DetectionQuestion::detection);
  scored.fuzzing = ask(DetectionQuestion::fuzzing);
  return scored;
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json to_json(const Scored& scored) {
  const auto of = [](const DetectionSummary& summary) {
    const DetectionScore& mean = summary.mean;
    return Json{{"features", summary.features},
                {"without_items", summary.without_items},
                {"items", mean.positives + mean.negatives},
                {"unreadable", mean.unreadable},
                {"balanced_accuracy", number(mean.balanced_accuracy)},
                {"f1", number(mean.f1)},
                {"auroc", number(mean.auroc)}};
  };
  return {{"detection", of(scored.detection)}, {"fuzzing", of(scored.fuzzing)}, {"refused", scored.refused}};
}

void print(const char* name, const DetectionSummary& summary) {
  std::printf("%-34s balanced accuracy %5.3f, F1 %5.3f   %lld of %lld features, %lld of %lld verdicts unreadable\n",
              name, summary.mean.balanced_accuracy, summary.mean.f1,
              static_cast<long long>(summary.features - summary.without_items),
              static_cast<long long>(summary.features), static_cast<long long>(summary.mean.unreadable),
              static_cast<long long>(summary.mean.positives + summary.mean.negatives));
}

std::vector<DescribedContexts> read_features(const Options& options) {
  const ContextStore store = ContextStore::open(options.contexts);
  std::vector<DescribedContexts> features;
  int64_t undescribed = 0;
  for (const DescribedFeature& each : load_descriptions(options.descriptions)) {
    if (options.limit > 0 && std::ssize(features) == options.limit) break;
    if (each.descriptions.empty()) {
      ++undescribed;
      continue;
    }
    features.push_back({each.descriptions.front().text, store.contexts(each.layer, each.latent)});
  }
  if (features.empty()) fail("describe", fmt::format("no described features ({})", options.descriptions));
  if (undescribed > 0) say(fmt::format("left out: {} features without a description", undescribed));
  return features;
}

void score(const Options& options) {
  if (options.offline == asks_chat_model(options.chat, /*optional=*/true)) {
    fail_usage("describe", "expected one of --endpoint, --chat-folder and --offline");
  }
  const std::vector<DescribedContexts> features = read_features(options);
  const std::vector<DescribedContexts> others = with_other_descriptions(features);
  const Tokenizer tokenizer = Tokenizer::open(options.target);
  Scored own, floor;
  Json result{{"judge", "library"}, {"descriptions", options.descriptions}, {"contexts", options.contexts}};
  if (options.offline) {
    const SymbolicSimulator simulator(std::make_shared<DescriptionLibrary>(
        tokenizer, WordNet::open(WordNet::default_folder), read_facts(home_folder() / "facts")));
    own = score_exactly(features, simulator, options.settings.items);
    floor = score_exactly(others, simulator, options.settings.items);
  } else {
    const std::unique_ptr<CachedChatModel> model = open_chat_model(options.chat, options.out + ".replies.jsonl");
    const int64_t pieces = 2 * options.settings.items.items;
    const int64_t questions = 4 * std::ssize(features) *
                              ((pieces + options.settings.pieces_a_question - 1) / options.settings.pieces_a_question);
    say(fmt::format("at most {} questions: detection and fuzzing, with the features' own descriptions and with others'",
                    questions));
    if (options.chat.estimate) return;
    own = score_by_asking(*model, tokenizer, features, options.settings);
    floor = score_by_asking(*model, tokenizer, others, options.settings);
    say(tally_text(model->tally(), prices_of(options.chat)));
    result["judge"] = model->name();
    result["settings"] = chat_settings(options.chat);
  }
  result["own"] = to_json(own);
  result["floor"] = to_json(floor);
  write_json(options.out, result);
  if (options.json) {
    std::printf("%s\n", result.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return;
  }
  print("detection", own.detection);
  print("  with another's description", floor.detection);
  print("fuzzing", own.fuzzing);
  print("  with another's description", floor.fuzzing);
  if (own.refused + floor.refused > 0) {
    std::printf("%lld questions were refused\n", static_cast<long long>(own.refused + floor.refused));
  }
  std::printf("%s\n", options.out.c_str());
}

}  // namespace

void add_describe_score(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("score", "Can a reader of descriptions tell where the features fire?");
  command->add_option("target", options->target, "folder of the model whose features they are")->required();
  command->add_option("--descriptions", options->descriptions, "descriptions.jsonl; the first of each feature counts")
      ->required();
  command->add_option("--contexts", options->contexts, "a context store of the features")->required();
  command->add_option("--out", options->out, "JSON file for the scores; a chat model's replies go beside it")
      ->required();
  command->add_flag("--offline", options->offline, "the reader is the library of sentences, which simulates exactly");
  command->add_option("--limit", options->limit, "only the first so many described features");
  command->add_option("--items", options->settings.items.items, "pieces of each side that are asked about")
      ->capture_default_str();
  command->add_option("--pieces", options->settings.pieces_a_question, "pieces in one question to a chat model")
      ->capture_default_str();
  command->add_option("--seed", options->settings.items.seed, "of the pieces and marks")->capture_default_str();
  add_chat_options(*command, options->chat);
  command->add_flag("--json", options->json, "print the scores as JSON");
  command->footer(
      "Detection: in which pieces of text does the feature fire? Fuzzing: are the marked tokens those it fires on?\n"
      "(Paulo et al. 2024.) The floor is the same with another feature's description; chance is 0.5.\n"
      "Example: introspect describe score models/tiny-llama --descriptions runs/words/descriptions.jsonl \\\n"
      "           --contexts runs/contexts --offline --out detection.json");
  command->callback([options] { score(*options); });
}

}  // namespace introspect
