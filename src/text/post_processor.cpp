#include "text/post_processor.h"

#include "base/error.h"

#include <nlohmann/json.hpp>

namespace introspect::text {

namespace {

using Known = std::function<bool(int64_t)>;

void check(const Part& part, int64_t id, const Known& known) {
  if (!known(id)) part.reject(fmt::format("names token {}, which the vocabulary does not have", id));
}

std::vector<int64_t> token_ids(const Part& special, const Known& known) {
  std::vector<int64_t> ids;
  const auto found = special.json().find("ids");
  if (found == special.json().end() || !found->is_array()) special.reject("expected an array \"ids\"");
  for (const auto& id : *found) {
    if (!id.is_number_integer()) special.reject("expected integers in \"ids\"");
    ids.push_back(id.get<int64_t>());
    check(special, ids.back(), known);
  }
  return ids;
}

// RobertaProcessing and BertProcessing: "cls": ["<s>", 0]
int64_t named_id(const Part& part, const std::string& key, const Known& known) {
  const auto found = part.json().find(key);
  if (found == part.json().end() || !found->is_array() || found->size() != 2 || !(*found)[1].is_number_integer()) {
    part.reject("expected \"" + key + "\": [text, id]");
  }
  const auto id = (*found)[1].get<int64_t>();
  check(part, id, known);
  return id;
}

}  // namespace

PostProcessor::PostProcessor(const Part& part, const Known& known) {
  add(part, known);
}

void PostProcessor::add(const Part& part, const Known& known) {
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.list("processors")) add(inner, known);
  } else if (type == "TemplateProcessing") {
    const auto specials = part.object("special_tokens");
    std::vector<int64_t> front, back;
    int texts = 0;
    for (const Part& item : part.list("single")) {
      if (const auto sequence = item.object("Sequence")) {
        if (sequence->text("id") != "A") sequence->reject("expected the sequence A in a template for one text");
        ++texts;
        continue;
      }
      const auto token = item.object("SpecialToken");
      if (!token) item.reject("expected {\"SpecialToken\": ...} or {\"Sequence\": ...}");
      const std::string id = token->text("id");
      const auto special = specials ? specials->object(id) : std::nullopt;
      if (!special) token->reject("special_tokens has no \"" + id + "\"");
      std::vector<int64_t>& side = texts == 0 ? front : back;
      for (const int64_t each : token_ids(*special, known)) side.push_back(each);
    }
    if (texts != 1) part.reject(fmt::format("single: got {} sequences, expected one", texts));
    before.insert(before.begin(), front.begin(), front.end());
    after.insert(after.end(), back.begin(), back.end());
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    before.insert(before.begin(), named_id(part, "cls", known));
    after.push_back(named_id(part, "sep", known));
  } else if (type != "ByteLevel") {  // ByteLevel only trims offsets, which we leave whole
    part.unknown_type("Sequence, TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing");
  }
}

}  // namespace introspect::text
