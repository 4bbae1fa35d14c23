#include "chat/local.h"

#include "base/error.h"
#include "base/progress.h"
#include "model/generate.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr size_t kBatch = 16;  // between two looks at Ctrl-C

std::string plainly(const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") {
      text += message.content + "\n\n";
    } else {
      text += fmt::format("{}: {}\n", message.role == "user" ? "User" : "Assistant", message.content);
    }
  }
  return text + "Assistant:";
}

// May they run in one batch?
bool alike(const ChatQuestion& a, const ChatQuestion& b) {
  return a.temperature == 0 && b.temperature == 0 && a.max_tokens == b.max_tokens && a.stop == b.stop;
}

}  // namespace

LocalChatModel::LocalChatModel(std::string name, std::string identity, Model model, Tokenizer tokenizer,
                               std::vector<int64_t> stop_tokens)
    : name_(std::move(name)),
      identity_(std::move(identity)),
      model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      stop_tokens_(std::move(stop_tokens)) {
  if (tokenizer_.chat_template()) template_.emplace(ChatTemplate::of(tokenizer_, name_ + " chat template"));
}

std::vector<int64_t> LocalChatModel::prompt_of(const ChatQuestion& question) const {
  if (!template_) return tokenizer_.encode(plainly(question.messages));
  ChatRequest request;
  request.messages = Json::array();
  for (const ChatMessage& message : question.messages) {
    request.messages.push_back({{"role", message.role}, {"content", message.content}});
  }
  request.add_generation_prompt = true;
  return tokenizer_.encode(template_->render(request), /*add_special_tokens=*/false);
}

void LocalChatModel::ask_all(const std::vector<ChatQuestion>& questions, const Take& take) {
  std::vector<size_t> group;  // questions that run together
  std::vector<Prompt> prompts;
  size_t refusals = 0;
  const auto run_group = [&] {
    if (group.empty()) return;
    check_interrupt("chat");
    const ChatQuestion& first = questions[group.front()];
    GenerateOptions options;
    options.max_new_tokens = first.max_tokens;
    options.temperature = first.temperature;
    options.stop = first.stop;
    if (!template_) options.stop.push_back("\nUser:");
    options.stop_tokens = stop_tokens_;
    if (first.temperature > 0) options.seed = std::stoull(question_key(identity_, first).substr(0, 15), nullptr, 16);
    const std::vector<Generated> made = generate(model_, tokenizer_, prompts, options);
    for (size_t i = 0; i < made.size(); ++i) {
      ChatReply reply;
      reply.text = made[i].text;
      reply.prompt_tokens = std::ssize(prompts[i].tokens);
      reply.reply_tokens = std::ssize(made[i].tokens);
      reply.cut = !made[i].finished;
      ++tally_.answered;
      tally_.cut += reply.cut;
      tally_.prompt_tokens += reply.prompt_tokens;
      tally_.reply_tokens += reply.reply_tokens;
      take(group[i], reply);
    }
    group.clear();
    prompts.clear();
  };
  for (size_t i = 0; i < questions.size(); ++i) {
    Prompt prompt;
    prompt.tokens = prompt_of(questions[i]);
    const int64_t needed = std::ssize(prompt.tokens) + questions[i].max_tokens;
    if (needed > model_.config.max_positions) {
      ChatReply reply;
      reply.refusal =
          fmt::format("{} tokens with the reply: the model has {} positions", needed, model_.config.max_positions);
      ++refusals;
      ++tally_.refused;
      take(i, reply);
      if (refusals == questions.size()) {
        fail("chat", fmt::format("no question fits, the last has {} (model '{}')", reply.refusal, name_),
             "show fewer or shorter examples");
      }
      continue;
    }
    if (!group.empty() && (group.size() == kBatch || !alike(questions[group.front()], questions[i]))) run_group();
    group.push_back(i);
    prompts.push_back(std::move(prompt));
  }
  run_group();
}

}  // namespace introspect
