// Comma-separated values as RFC 4180: quoted fields, doubled quotes, embedded newlines.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

// Rows of fields. Throws InvalidData naming the line of an unterminated quote.
std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view name);

}  // namespace lacuna
