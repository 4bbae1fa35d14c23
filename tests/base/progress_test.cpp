#include "base/progress.h"

#include "base/temporary_folder.h"

#include <csignal>
#include <cstdlib>
#include <thread>

namespace introspect {
namespace {

using namespace std::chrono_literals;

// What `action` prints to standard error, which is then a file and no terminal.
template <class Action>
std::string printed_by(Action&& action) {
  ::testing::internal::CaptureStderr();
  action();
  return ::testing::internal::GetCapturedStderr();
}

TEST(Progress, ShortWorkPrintsNothing) {
  EXPECT_EQ(printed_by([] {
              Progress progress("quick", 100);
              for (int i = 0; i < 100; ++i) progress.advance();
            }),
            "");
}

TEST(Progress, PlainLineAtTheEnd) {
  const std::string text = printed_by([] {
    Progress progress("training", 2000, "steps");
    progress.set(1500);  // resumed here: only 500 count into the rate
    std::this_thread::sleep_for(1100ms);
    progress.note("loss 2.31");
    progress.advance(500);
    progress.finish();
    progress.finish();
  });
  const std::string begin = "training  100%  2,000/2,000  ";
  ASSERT_TRUE(text.starts_with(begin)) << text;
  EXPECT_LT(std::atof(text.c_str() + begin.size()), 500) << text;
  EXPECT_EQ(text.find(',', begin.size()), std::string::npos) << text;  // no thousands
  EXPECT_TRUE(holds(text, " steps/s  took 00:0"));
  EXPECT_TRUE(text.ends_with("  | loss 2.31\n")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
}

TEST(Progress, UnknownTotal) {
  const std::string text = printed_by([] {
    Progress progress("reading", 0);
    std::this_thread::sleep_for(1100ms);
    progress.advance(3);
  });
  EXPECT_TRUE(text.starts_with("reading  3  ") && holds(text, "/s  took ")) << text;
  EXPECT_EQ(text.find('%'), std::string::npos);
}

TEST(Progress, QuietIsQuiet) {
  const auto work = [] {
    Progress progress("x", 1);
    std::this_thread::sleep_for(1100ms);
    progress.advance();
    progress.finish();
    say("warning");
  };
  set_quiet(true);
  EXPECT_EQ(printed_by(work), "");
  set_quiet(false);
  ::setenv("INTROSPECT_QUIET", "1", 1);
  EXPECT_EQ(printed_by(work), "");
  ::unsetenv("INTROSPECT_QUIET");
}

TEST(Say, PrintsALine) {
  EXPECT_EQ(printed_by([] { say("warning: {} is no placeholder"); }), "warning: {} is no placeholder\n");
}

// In a child process, since the flag stays up.
TEST(Interrupt, FirstSignalRaisesAFlagTheSecondEnds) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto child = [](int signals) {
    install_interrupt_handler();
    check_interrupt("training");
    if (interrupted()) std::exit(1);
    for (int i = 0; i < signals; ++i) std::raise(SIGINT);
    try {
      check_interrupt("training");
    } catch (const Error& error) {
      const bool good = error.kind() == ErrorKind::interrupted && interrupted();
      std::exit(good ? 42 : 2);
    }
    std::exit(3);
  };
  EXPECT_EXIT(child(1), ::testing::ExitedWithCode(42), "stopping after the current step");
  EXPECT_EXIT(child(2), ::testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(child(0), ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace introspect
