// Where the reference values are: $INTROSPECT_GOLDENS, or ../shared/goldens beside the checkout. Tests that need a
// folder which is not there print the reason and are skipped.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace introspect::test {

inline std::filesystem::path golden_folder(const std::string& name) {
  const char* given = std::getenv("INTROSPECT_GOLDENS");
  const std::filesystem::path root =
      given ? std::filesystem::path(given) : std::filesystem::path(INTROSPECT_SOURCE_DIR) / "../shared/goldens";
  return root / name;
}

}  // namespace introspect::test

#define REQUIRE_GOLDENS(folder) \
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no reference values at " << (folder).string()
