#pragma once

namespace lacuna {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

// For what only a bug in Lacuna can cause; active in every build.
#define LACUNA_ASSERT(expression) ((expression) ? void(0) : ::lacuna::assertion_failed(#expression, __FILE__, __LINE__))
