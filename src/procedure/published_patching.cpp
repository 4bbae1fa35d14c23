// The published activation-patching data.
#include "base/error.h"
#include "procedure/cells.h"
#include "procedure/published_rows.h"
#include "procedure/wording.h"
#include "text/decoder.h"

#include <algorithm>
#include <memory>

#include <ATen/Functions.h>
#include <fmt/ranges.h>

namespace introspect {

namespace {

const PublishedColumns kColumns = {
    {"layer", "input_tokens", "original_continuation", "ablated_continuation", "patch_position"},
    {"is_different", "token_type", "counterfactual_text", "gt_original_target"}};

// Token strings as text. Vocabularies of bytes write a blank as Ġ and a line end as Ċ; some files hold such strings,
// some the text itself.
class TokenStrings {
 public:
  TokenStrings()
      : part_(nlohmann::json{{"type", "ByteLevel"}}), decoder_(text::Part(part_, "decoder", "GPT-2's alphabet")) {}

  std::string join(const std::vector<std::string>& tokens) const {
    if (in_alphabet(tokens)) return decoder_.decode(tokens);
    std::string text;
    for (const std::string& token : tokens) text += token;
    return text;
  }
  std::string decode(const std::string& token) const { return decoder_.decode({token}); }
  // Whether blanks are written as letters, and nowhere as blanks.
  static bool in_alphabet(const std::vector<std::string>& tokens) {
    bool letters = false;
    for (const std::string& token : tokens) {
      if (token.find_first_of(" \n") != std::string::npos) return false;
      letters = letters || token.find("\u0120") != std::string::npos || token.find("\u010a") != std::string::npos;
    }
    return letters;
  }

 private:
  nlohmann::json part_;
  text::Decoder decoder_;
};

class PatchingImport {
 public:
  explicit PatchingImport(ImportReport& report) : report_(report) { dataset_.task = "patching"; }

  void add(Split split, const std::string& id, const Json& row) {
    const Json& position = row.at("patch_position");
    if (!position.is_object())
      fail("import", fmt::format("row {}: patch_position is {}, expected a struct", id, position.type_name()));
    const Json& vector = position.contains("intervention_vector") ? position.at("intervention_vector") : Json();
    if (!vector.is_array() || vector.empty()) {
      report_.dropped.add("no intervention vector", id);
      return;
    }
    Example example;
    example.id = "patching-" + id;
    example.split = split;
    const std::vector<std::string> tokens = texts_of(row, "input_tokens", id);
    example.layers = integers_of(row, "layer", id);
    if (tokens.empty() || example.layers.empty()) {
      report_.dropped.add("without tokens or layers", id);
      return;
    }
    set_texts(example, tokens, position, row, id);
    example.vector = std::ssize(vectors_) / (width_ ? width_ : std::ssize(vector));
    add_vector(vector, id);
    example.answer = answer_sentence(example.changed(), example.after);
    set_attributes(example, position, row);
    dataset_.examples.push_back(std::move(example));
  }

  Dataset finish(const ImportSettings& settings) {
    if (dataset_.examples.empty()) fail("import", "no row could be used: " + report_.dropped.text());
    const auto kept = std::make_shared<std::vector<float>>(std::move(vectors_));  // no second copy of gigabytes
    dataset_.vectors = at::from_blob(
        kept->data(), {std::ssize(*kept) / width_, width_}, [kept](void*) {}, at::kFloat);
    number_blocks();
    split_published(dataset_, settings, report_);
    std::stable_sort(dataset_.examples.begin(), dataset_.examples.end(),
                     [](const Example& a, const Example& b) { return a.split < b.split; });
    set_info();
    return std::move(dataset_);
  }

 private:
  static std::vector<std::string> texts_of(const Json& row, const char* key, const std::string& id) {
    std::vector<std::string> texts;
    for (const Json& each : row.at(key)) {
      if (!each.is_string()) fail("import", fmt::format("row {}: {}: got {}, expected text", id, key, each.dump()));
      texts.push_back(each.get<std::string>());
    }
    return texts;
  }
  static std::vector<int64_t> integers_of(const Json& row, const char* key, const std::string& id) {
    std::vector<int64_t> numbers;
    for (const Json& each : row.at(key)) {
      if (!each.is_number_integer())
        fail("import", fmt::format("row {}: {}: got {}, expected integers", id, key, each.dump()));
      numbers.push_back(each.get<int64_t>());
    }
    return numbers;
  }

  void set_texts(Example& example, const std::vector<std::string>& tokens, const Json& position, const Json& row,
                 const std::string& id) {
    // the beginning-of-text token belongs to the target's input, not to the text that the question shows
    const bool has_bos = tokens.front() == "<|begin_of_text|>" || tokens.front() == "<s>" || tokens.front() == "<bos>";
    if (has_bos) ++with_bos_;
    const bool letters = TokenStrings::in_alphabet(tokens);
    const auto shown = [&](const std::string& token) { return visible_text(letters ? strings_.decode(token) : token); };
    example.input = strings_.join({tokens.begin() + (has_bos ? 1 : 0), tokens.end()});
    const std::string token = required_text(position, "orig_text_token", id);
    example.token = shown(token);
    example.before = shown(required_text(row, "original_continuation", id));
    example.after = shown(required_text(row, "ablated_continuation", id));
    if (example.before.empty() || example.after.empty()) report_.dropped.add("kept: an empty continuation", id);
    const auto at = position.find("orig_pos");
    if (at != position.end() && at->is_number_integer()) {
      const auto place = at->get<int64_t>();
      const auto is = [&](int64_t i) {
        return i >= 0 && i < std::ssize(tokens) && tokens[static_cast<size_t>(i)] == token;
      };
      if (!is(place) && !is(place + 1))
        report_.dropped.add("kept: the token at orig_pos is another than orig_text_token", id);
    }
    const auto different = row.find("is_different");
    if (different != row.end() && different->is_boolean() && different->get<bool>() != example.changed()) {
      report_.dropped.add("kept: is_different says something else than the two continuations", id);
    }
    prompts_.try_emplace(example.input, fmt::format("prompt-{:06}", prompts_.size()));
    example.cluster = prompts_.at(example.input);
  }

  void add_vector(const Json& vector, const std::string& id) {
    if (width_ == 0) width_ = std::ssize(vector);
    if (std::ssize(vector) != width_) {
      fail("import", fmt::format("row {}: a vector of {} numbers, the rows before have {}", id, vector.size(), width_));
    }
    for (const Json& each : vector) {
      if (!each.is_number()) fail("import", fmt::format("row {}: the vector holds {}", id, each.dump()));
      vectors_.push_back(each.get<float>());
    }
  }

  void set_attributes(Example& example, const Json& position, const Json& row) {
    const auto copy = [&](const char* name, const Json& from, const char* key) {
      const auto found = from.find(key);
      const auto text = found == from.end() ? std::nullopt : published_text(*found);
      if (text) example.attributes[name] = *text;
    };
    example.attributes["token_type"] = "not said";
    example.attributes["relation"] = "not said";
    copy("token_type", row, "token_type");
    copy("position", position, "orig_pos");
    copy("source_position", position, "counterfact_pos");
    copy("source_token", position, "counterfact_text_token");
    copy("counterfactual_input", row, "counterfactual_text");
    copy("object", row, "gt_original_target");
    const auto object = example.attributes.find("object");
    if (object == example.attributes.end()) return;
    // the right answer's first token is what the target says if it answers rightly
    const std::string right = visible_text(object->second);
    right_[example.cluster] = !example.before.empty() && right.starts_with(example.before);
  }

  // Layers cut into blocks, numbered from the first layers up.
  void number_blocks() {
    for (const Example& example : dataset_.examples) blocks_.try_emplace(example.layers, 0);
    int64_t number = 0;
    for (auto& [layers, block] : blocks_) block = number++;
    for (Example& example : dataset_.examples) {
      example.attributes["block"] = std::to_string(blocks_.at(example.layers));
      example.attributes["cell"] =
          fmt::format("{}/{}", example.attributes.at("token_type"), example.attributes.at("block"));
    }
  }

  // What a page says of the data set, from the rows alone: nobody published what was left out.
  void set_info() {
    Json blocks = Json::array(), map = Json::array();
    for (const auto& entry : blocks_) blocks.push_back(entry.first);
    std::map<std::pair<std::string, int64_t>, std::pair<int64_t, int64_t>> cells;
    for (const Example& example : dataset_.examples) {
      auto& [all, changed] = cells[{example.attributes.at("token_type"), blocks_.at(example.layers)}];
      ++all;
      changed += example.changed();
    }
    for (const auto& [cell, counts] : cells) {
      map.push_back(
          {{"token_type", cell.first}, {"block", cell.second}, {"patches", counts.first}, {"changed", counts.second}});
    }
    int64_t correct = 0;
    for (const auto& entry : right_) correct += entry.second;
    dataset_.info["d_model"] = width_;
    dataset_.info["blocks"] = blocks;
    dataset_.info["change_map"] = map;
    dataset_.info["prompts"] = prompts_.size();
    dataset_.info["with_bos"] = with_bos_;
    const double share = right_.empty() ? 0 : static_cast<double>(correct) / static_cast<double>(right_.size());
    dataset_.info["target_accuracy"] = {{"prompts", right_.size()}, {"correct", correct}, {"share", share}};
  }

  ImportReport& report_;
  TokenStrings strings_;
  Dataset dataset_;
  std::vector<float> vectors_;
  int64_t width_ = 0, with_bos_ = 0;
  std::map<std::string, std::string> prompts_;  // text to cluster
  std::map<std::string, bool> right_;           // cluster: whether the target answers it rightly
  std::map<std::vector<int64_t>, int64_t> blocks_;
};

}  // namespace

Dataset import_patching(const std::vector<fs::path>& paths, const ImportSettings& settings, ImportReport& report) {
  PatchingImport made(report);
  for_each_published_row(paths, kColumns, settings, report,
                         [&](Split split, const std::string& id, const Json& row) { made.add(split, id, row); });
  return made.finish(settings);
}

}  // namespace introspect
