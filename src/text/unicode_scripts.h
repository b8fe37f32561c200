#pragma once

namespace lacuna::text {

// A number for the script of a character, -1 for characters of none (unassigned). Hiragana and Katakana count as Han.
int joined_script(char32_t c);

}  // namespace lacuna::text
