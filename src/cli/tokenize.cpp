// introspect tokenize, detokenize and tokenizer train.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "procedure/options.h"
#include "procedure/records.h"
#include "procedure/render.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

Tokenizer open_tokenizer(const fs::path& model) {
  return fs::is_directory(model) ? Tokenizer::open(model) : Tokenizer::from_file(model);
}

void print_line(const std::string& line) {
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fputc('\n', stdout) == EOF) {
    fail("tokenize", "writing to standard output failed");
  }
}

// JSON with bytes that are no UTF-8 (a piece may be a part of a character) as U+FFFD.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct TokenizeOptions {
  fs::path model;
  std::optional<std::string> text;
  fs::path file, lines;
  bool no_special = false;
};

// The text already begins with the bos that is put before it: usually a chat template rendered it.
void warn_of_double_bos(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  if (ids.size() < 2 || !tokenizer.bos() || ids[0] != *tokenizer.bos() || ids[1] != *tokenizer.bos()) return;
  say(fmt::format("warning: the text begins with {} and another one is put before it (--no-special leaves that out)",
                  tokenizer.token(*tokenizer.bos())));
}

void tokenize(const TokenizeOptions& options) {
  const Tokenizer tokenizer = open_tokenizer(options.model);
  if (!options.lines.empty()) {
    for_each_json_line(options.lines, [&](size_t line, const Json& text) {
      if (!text.is_string()) {
        fail("tokenize",
             fmt::format("got {}, expected a JSON string ({}:{})", text.type_name(), options.lines.string(), line));
      }
      print_line(Json(tokenizer.encode(text.get_ref<const std::string&>(), !options.no_special)).dump());
    });
    return;
  }
  const std::string text = options.text ? *options.text : read_text(options.file);
  const std::vector<int64_t> ids = tokenizer.encode(text, !options.no_special);
  if (!options.no_special) warn_of_double_bos(tokenizer, ids);
  for (const int64_t id : ids) {
    print_line(
        fmt::format("{:>8}  {}{}", id, quoted(tokenizer.piece(id)), tokenizer.is_special(id) ? "  special" : ""));
  }
  print_line(fmt::format("{} tokens, {} bytes of text", ids.size(), text.size()));
}

struct DetokenizeOptions {
  fs::path model, lines;
  std::vector<int64_t> ids;
  bool skip_special = false;
};

void detokenize(const DetokenizeOptions& options) {
  const Tokenizer tokenizer = open_tokenizer(options.model);
  const auto check = [&](const std::vector<int64_t>& ids, const std::string& where) {
    for (const int64_t id : ids) {
      if (id >= 0 && id < tokenizer.vocab_size()) continue;
      fail("detokenize", fmt::format("got id {}, expected 0 to {} ({})", id, tokenizer.vocab_size() - 1, where));
    }
  };
  if (options.lines.empty()) {
    check(options.ids, "--ids");
    print_line(tokenizer.decode(options.ids, options.skip_special));
    return;
  }
  for_each_json_line(options.lines, [&](size_t line, const Json& ids) {
    const std::string where = fmt::format("{}:{}", options.lines.string(), line);
    const bool fits =
        ids.is_array() && std::all_of(ids.begin(), ids.end(), [](const Json& id) { return id.is_number_integer(); });
    if (!fits) fail("detokenize", fmt::format("expected a JSON array of ids ({})", where));
    const auto list = ids.get<std::vector<int64_t>>();
    check(list, where);
    print_line(quoted(tokenizer.decode(list, options.skip_special)));
  });
}

struct TrainOptions {
  std::vector<fs::path> texts;
  fs::path facts, out;
  int64_t name_weight = 200, max_bytes = 0;
  BpeTrainSettings settings;
};

// Objects and subjects often enough that most objects become one token, so that an answer's first token tells it.
void add_facts(BpeTrainer& trainer, const FactTable& table, int64_t name_weight) {
  for (const Relation& relation : table.relations) {
    for (const Fact& fact : relation.facts) {
      trainer.add(option_answer(fact.object), name_weight);
      trainer.add(" " + fact.subject, std::max<int64_t>(1, name_weight / 4));
    }
  }
  for (const std::string& statement : all_statements(table)) trainer.add(statement);
  for (const OptionPrompt& prompt : all_option_prompts(table, 0)) trainer.add(prompt.prompt);
}

void train_tokenizer(const TrainOptions& options) {
  BpeTrainer trainer(options.settings);
  Progress progress("counting words", static_cast<int64_t>(options.texts.size()), "files");
  for (const fs::path& path : options.texts) {
    std::string text = read_text(path);
    if (options.max_bytes > 0 && std::ssize(text) > options.max_bytes) text.resize(options.max_bytes);
    trainer.add(text);
    progress.advance();
    check_interrupt("tokenizer train");
  }
  progress.finish();
  if (!options.facts.empty()) add_facts(trainer, read_facts(options.facts), options.name_weight);
  trainer.train();
  trainer.write(options.out);
  print_line(fmt::format("{}: {} tokens from {} different words", options.out.string(), trainer.vocab_size(),
                         trainer.word_count()));
  if (trainer.vocab_size() < options.settings.vocab_size) {
    say(fmt::format("warning: {} tokens were asked for; no further pair occurs {} times", options.settings.vocab_size,
                    options.settings.smallest_count));
  }
}

void add_tokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "show the tokens of a text, or turn texts into ids");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("MODEL", options->model, "folder, or tokenizer.json")->required()->check(CLI::ExistingPath);
  CLI::Option_group* given = command->add_option_group("input");
  given->add_option("--text", options->text, "the text itself");
  given->add_option("--file", options->file, "a text file")->check(CLI::ExistingFile);
  given->add_option("--jsonl", options->lines, "one JSON string a line in, one array of ids a line out")
      ->check(CLI::ExistingFile);
  given->require_option(1);
  command->add_flag("--no-special", options->no_special, "put no special tokens around the text");
  command->callback([options] { tokenize(*options); });
}

void add_detokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detokenize", "turn ids into text");
  const auto options = std::make_shared<DetokenizeOptions>();
  command->add_option("MODEL", options->model, "folder, or tokenizer.json")->required()->check(CLI::ExistingPath);
  CLI::Option_group* given = command->add_option_group("input");
  given->add_option("--ids", options->ids, "ids, separated by commas")->delimiter(',');
  given->add_option("--jsonl", options->lines, "one array of ids a line in, one JSON string a line out")
      ->check(CLI::ExistingFile);
  given->require_option(1);
  command->add_flag("--skip-special", options->skip_special, "leave special tokens out");
  command->callback([options] { detokenize(*options); });
}

void add_train(CLI::App& app) {
  CLI::App* group = app.add_subcommand("tokenizer", "make tokenizers");
  group->require_subcommand(1);
  CLI::App* command =
      group->add_subcommand("train", "train a byte-level BPE tokenizer and write a Hugging Face folder");
  const auto options = std::make_shared<TrainOptions>();
  BpeTrainSettings& settings = options->settings;
  command->add_option("--text", options->texts, "text files")->required()->check(CLI::ExistingFile);
  command->add_option("--facts", options->facts, "a fact table: its statements, prompts and names count as well");
  command->add_option("--name-weight", options->name_weight, "how often each object of the facts is counted")
      ->capture_default_str();
  command->add_option("--max-bytes", options->max_bytes, "only the beginning of each text file");
  command->add_option("--vocab", settings.vocab_size, "size of the vocabulary, with bytes and special tokens")
      ->required();
  command->add_option("--special", settings.special_tokens, "special tokens, which get the last ids");
  command->add_option("--bos", settings.bos_token, "the special token put before every text");
  command->add_option("--eos", settings.eos_token, "the special token that ends a text");
  command->add_option("--pad", settings.pad_token, "the special token that fills batches");
  command->add_option("--smallest-count", settings.smallest_count, "pairs seen less often are not merged")
      ->capture_default_str();
  command->add_option("--out", options->out, "folder to write")->required();
  command->callback([options] { train_tokenizer(*options); });
}

}  // namespace

void add_tokenize_commands(CLI::App& app) {
  add_tokenize(app);
  add_detokenize(app);
  add_train(app);
}

}  // namespace introspect
