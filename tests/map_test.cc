// docs/ARCHITECTURE.md's folder map and the disk must agree.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace {

const std::filesystem::path kRoot = LACUNA_SOURCE_DIR;

std::set<std::string> folders_of_map() {
  std::set<std::string> out;
  std::ifstream page(kRoot / "docs/ARCHITECTURE.md");
  for (std::string line; std::getline(page, line);)
    if (line.starts_with("| `") && line.find("/`") != std::string::npos) out.insert(line.substr(3, line.find("/`") - 3));
  return out;
}

std::set<std::string> folders_on_disk() {
  std::set<std::string> out = {"include/lacuna"};
  for (auto& entry : std::filesystem::directory_iterator(kRoot / "src"))
    if (entry.is_directory()) out.insert("src/" + entry.path().filename().string());
  for (auto& entry : std::filesystem::directory_iterator(kRoot)) {
    std::string name = entry.path().filename().string();
    if (entry.is_directory() && !name.starts_with(".") && name != "build" && name != "models" && name != "src" && name != "include") out.insert(name);
  }
  return out;
}

TEST(FolderMap, AgreesWithTheDisk) { EXPECT_EQ(folders_of_map(), folders_on_disk()); }

}  // namespace
