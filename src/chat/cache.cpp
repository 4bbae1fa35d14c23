#include "chat/cache.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::pair<std::string, ChatReply> parse_line(std::string_view line, const std::string& label) {
  const Json json = parse_json(line, label);
  ChatReply reply;
  reply.text = json_get<std::string>(json, "text", label);
  reply.prompt_tokens = json_get<int64_t>(json, "prompt_tokens", label);
  reply.reply_tokens = json_get<int64_t>(json, "reply_tokens", label);
  reply.cut = json_get<bool>(json, "cut", label);
  return {json_get<std::string>(json, "key", label), reply};
}

}  // namespace

CachedChatModel::CachedChatModel(std::unique_ptr<ChatModel> inner, const fs::path& file)
    : inner_(std::move(inner)), file_(file), identity_(inner_->identity()) {
  const auto refuse = [&](const char* what) {
    const std::string reason = std::strerror(errno);
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    fail("chat cache", fmt::format("{}: {} ({})", what, reason, file_.string()));
  };
  if (file_.has_parent_path()) fs::create_directories(file_.parent_path());
  descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) refuse("cannot be opened");
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      ::close(std::exchange(descriptor_, -1));
      fail("chat cache", fmt::format("another process uses it ({})", file_.string()),
           "wait for that process, or give this one another folder");
    }
    refuse("cannot be locked");
  }
  try {
    read();
  } catch (...) {
    ::close(std::exchange(descriptor_, -1));
    throw;
  }
}

CachedChatModel::~CachedChatModel() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void CachedChatModel::read() {
  const std::string text = read_text(file_);
  size_t line = 0, good = 0;  // good: bytes up to the end of the last whole line
  while (good < text.size()) {
    ++line;
    const size_t end = text.find('\n', good);
    const bool last = end == std::string::npos || end + 1 == text.size();
    if (end == std::string::npos) {
      ++broken_lines_;
      break;
    }
    const std::string_view whole(text.data() + good, end - good);
    try {
      replies_.insert(parse_line(whole, fmt::format("{}:{}", file_.string(), line)));
    } catch (const Error& error) {
      if (!last) {
        fail("chat cache", fmt::format("a broken line that is not the last: {}", error.what()),
             "take the line out; its question is asked again");
      }
      ++broken_lines_;
      break;
    }
    good = end + 1;
  }
  if (good < text.size() && ::ftruncate(descriptor_, static_cast<off_t>(good)) != 0) {
    fail("chat cache", fmt::format("cannot be shortened: {} ({})", std::strerror(errno), file_.string()));
  }
}

void CachedChatModel::append(const std::string& key, const ChatReply& reply) {
  const Json json{{"key", key},
                  {"text", reply.text},
                  {"prompt_tokens", reply.prompt_tokens},
                  {"reply_tokens", reply.reply_tokens},
                  {"cut", reply.cut}};
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t count = ::write(descriptor_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      fail("chat cache", fmt::format("cannot be written: {} ({})", std::strerror(errno), file_.string()));
    }
    done += static_cast<size_t>(count);
  }
}

bool CachedChatModel::remembers(const ChatQuestion& question) const {
  return replies_.contains(question_key(identity_, question));
}

ChatTally CachedChatModel::tally() const {
  ChatTally tally = inner_->tally();
  tally.remembered += remembered_;
  return tally;
}

void CachedChatModel::ask_all(const std::vector<ChatQuestion>& questions, const Take& take) {
  std::unordered_map<std::string, size_t> where;  // key → its place in `asked`
  std::vector<ChatQuestion> asked;
  std::vector<std::string> keys;             // of asked
  std::vector<std::vector<size_t>> wanting;  // the questions that each of asked stands for
  for (size_t i = 0; i < questions.size(); ++i) {
    std::string key = question_key(identity_, questions[i]);
    if (const auto found = replies_.find(key); found != replies_.end()) {
      ++remembered_;
      take(i, found->second);
      continue;
    }
    const auto [entry, fresh] = where.emplace(key, asked.size());
    if (fresh) {
      asked.push_back(questions[i]);
      keys.push_back(std::move(key));
      wanting.emplace_back();
    }
    wanting[entry->second].push_back(i);
  }
  if (asked.empty()) return;
  inner_->ask_all(asked, [&](size_t question, const ChatReply& reply) {
    if (reply.refusal.empty()) {
      append(keys[question], reply);
      replies_.emplace(keys[question], reply);
    }
    for (size_t i = 0; i < wanting[question].size(); ++i) {
      if (i > 0) ++remembered_;
      take(wanting[question][i], reply);
    }
  });
}

}  // namespace introspect
