// docs/ARCHITECTURE.md's folder map and the disk must agree, and pages that are cited must exist.
#include <gtest/gtest.h>

#include <cctype>
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

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// "docs/formats/csr.md" in the words of a file.
std::set<std::string> pages_cited_in(const std::filesystem::path& file) {
  std::string text = text_of(file);
  std::set<std::string> out;
  for (size_t at = text.find("docs/"); at != text.npos; at = text.find("docs/", at + 1)) {
    size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.", at);
    std::string page = text.substr(at, end == text.npos ? end : end - at);
    while (page.ends_with('.')) page.pop_back();
    bool ours = at == 0 || !(std::isalnum(static_cast<unsigned char>(text[at - 1])) || text[at - 1] == '/');  // not another project's "x/docs/"
    if (ours && page.ends_with(".md")) out.insert(page);
  }
  return out;
}

TEST(Pages, ThatSourcesCiteAreThere) {
  for (const char* folder : {"src", "include", "tests"})
    for (auto& entry : std::filesystem::recursive_directory_iterator(kRoot / folder)) {
      std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".inl") continue;
      for (auto& page : pages_cited_in(entry.path())) EXPECT_TRUE(std::filesystem::exists(kRoot / page)) << page << ", cited in " << entry.path();
    }
}

TEST(Pages, TheProgramOfTheApiPageIsTheOneThatIsBuilt) {
  std::string program = text_of(kRoot / "examples/prune_and_run.cc");
  ASSERT_FALSE(program.empty());
  EXPECT_NE(text_of(kRoot / "docs/api.md").find("```cpp\n" + program + "```"), std::string::npos);
}

// A header that nobody finds on the page might as well not be there.
TEST(Pages, TheApiPageNamesEveryPublicHeader) {
  std::string page = text_of(kRoot / "docs/api.md");
  for (auto& entry : std::filesystem::directory_iterator(kRoot / "include/lacuna"))
    EXPECT_NE(page.find("`" + entry.path().filename().string() + "`"), std::string::npos) << entry.path();
}

}  // namespace
