// cat("tensor '", name, "' has ", n, " bytes"): message building without a formatting library in headers.
#pragma once

#include <concepts>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {
namespace detail {
inline void append(std::string& out, std::string_view s) { out += s; }
inline void append(std::string& out, const char* s) { out += s; }
inline void append(std::string& out, const std::string& s) { out += s; }
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, bool b) { out += b ? "true" : "false"; }
inline void append(std::string& out, const std::filesystem::path& p) { out += p.string(); }
template <std::integral T>
void append(std::string& out, T v) {
  out += std::to_string(v);
}
template <std::floating_point T>
void append(std::string& out, T v) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", double(v));
  out += buffer;
}
template <class T>
void append(std::string& out, std::span<const T> v) {
  out += '[';
  for (size_t i = 0; i < v.size(); i++) {
    if (i) out += ", ";
    append(out, v[i]);
  }
  out += ']';
}
template <class T>
void append(std::string& out, const std::vector<T>& v) {
  append(out, std::span<const T>(v));
}
}  // namespace detail

template <class... Args>
std::string cat(const Args&... args) {
  std::string out;
  (detail::append(out, args), ...);
  return out;
}

// "a, b, c"; at most `limit` items, then "and N more".
std::string join(std::span<const std::string> items, std::string_view separator = ", ", size_t limit = 1000);

}  // namespace lacuna
