// Runs the lacuna program as a user would.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace lacuna::test {

inline const std::filesystem::path kData = LACUNA_SOURCE_DIR "/../shared/data";
inline const std::filesystem::path kFixtures = LACUNA_SOURCE_DIR "/tests/fixtures";

struct Result {
  int status = 0;
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A directory of its own for each test, removed at the end.
class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "lacuna_test_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // `arguments` as typed in a shell.
  Result lacuna(const std::string& arguments) const {
    std::string out = folder_ / "stdout", err = folder_ / "stderr";
    int raw = std::system((std::string(LACUNA_PROGRAM) + " " + arguments + " >'" + out + "' 2>'" + err + "' </dev/null").c_str());
    return {WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw), read_all(out), read_all(err)};
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::filesystem::path folder_;
};

#define LACUNA_NEEDS(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "missing " << (path)

}  // namespace lacuna::test
