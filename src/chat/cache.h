// A chat model that remembers: what was answered once is never asked again, not even after the process was killed.
//
// The file is JSON lines, one an answer, appended as answers come:
//   {"key": <SHA-256 of question and model>, "text", "prompt_tokens", "reply_tokens", "cut"}
#pragma once

#include "chat/chat_model.h"

#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>

namespace introspect {

namespace fs = std::filesystem;

class CachedChatModel : public ChatModel {
 public:
  // Reads the file or makes it. A last line that is broken (the process was killed while it wrote) is cut off and
  // counted; a broken line elsewhere is an Error naming file and line. One process at a time: a second one is an Error.
  CachedChatModel(std::unique_ptr<ChatModel> inner, const fs::path& file);
  ~CachedChatModel() override;
  CachedChatModel(const CachedChatModel&) = delete;
  CachedChatModel& operator=(const CachedChatModel&) = delete;

  std::string name() const override { return inner_->name(); }
  std::string identity() const override { return inner_->identity(); }
  // The same question twice in the list is asked once. Refusals are not remembered: they may have been of the day.
  void ask_all(const std::vector<ChatQuestion>& questions, const Take& take) override;
  bool remembers(const ChatQuestion& question) const override;
  ChatTally tally() const override;

  size_t size() const { return replies_.size(); }
  int64_t broken_lines() const { return broken_lines_; }  // cut off when it was opened: 0 or 1

 private:
  void read();
  void append(const std::string& key, const ChatReply& reply);

  std::unique_ptr<ChatModel> inner_;
  fs::path file_;
  std::string identity_;
  int descriptor_ = -1;
  int64_t broken_lines_ = 0, remembered_ = 0;
  std::unordered_map<std::string, ChatReply> replies_;
};

}  // namespace introspect
