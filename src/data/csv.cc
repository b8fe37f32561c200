#include "data/csv.h"

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view name) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string field;
  bool quoted = false, was_quoted = false;
  size_t line = 1, quote_line = 1;
  auto end_field = [&] {
    row.push_back(std::move(field));
    field.clear();
    was_quoted = false;
  };
  auto end_row = [&] {
    if (row.empty() && field.empty() && !was_quoted) return;  // blank line
    end_field();
    rows.push_back(std::move(row));
    row.clear();
  };
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '\n') line++;
    if (quoted) {
      if (c != '"')
        field += c;
      else if (i + 1 < text.size() && text[i + 1] == '"')
        field += text[++i];
      else
        quoted = false;
    } else if (c == '"' && field.empty()) {
      quoted = was_quoted = true;
      quote_line = line;
    } else if (c == ',') {
      end_field();
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r' || (i + 1 < text.size() && text[i + 1] != '\n')) {
      field += c;
    }
  }
  if (quoted) throw InvalidData(cat(name, ": the quote opened on line ", quote_line, " is never closed"));
  end_row();
  return rows;
}

}  // namespace lacuna
