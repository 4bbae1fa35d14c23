#include "base/temporary_folder.h"

namespace introspect {
namespace {

TEST(Error, TextAndKind) {
  try {
    fail("room", "got 1, expected 2 (file)", "try 2");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[room] got 1, expected 2 (file)\nhint: try 2");
    EXPECT_EQ(error.kind(), ErrorKind::failure);
  }
  try {
    fail_usage("recipe", "no such key");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[recipe] no such key");
    EXPECT_EQ(error.kind(), ErrorKind::usage);
  }
}

}  // namespace
}  // namespace introspect
