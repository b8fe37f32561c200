#include <clocale>
#include <csignal>

#include "cli/cli.h"

namespace {

const char* code_name(lacuna::ErrorCode code) {
  switch (code) {
    case lacuna::ErrorCode::kInvalidArgument: return "invalid_argument";
    case lacuna::ErrorCode::kInvalidData: return "invalid_data";
    case lacuna::ErrorCode::kNotFound: return "not_found";
    case lacuna::ErrorCode::kUnsupported: return "unsupported";
    case lacuna::ErrorCode::kIo: return "io";
    case lacuna::ErrorCode::kResourceExhausted: return "resource_exhausted";
  }
  return "error";
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);
  CLI::App app{"Lacuna makes neural networks sparse, and runs them so that the zeros are really skipped."};
  app.set_version_flag("--version", LACUNA_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
#define LACUNA_VERB(name) lacuna::cli::add_##name(app);
#include "cli/verbs.def"
#undef LACUNA_VERB
  if (argc == 1) {
    std::fputs(app.help().c_str(), stdout);
    return 2;
  }
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw lacuna::IoError("cannot write to the standard output");
    return 0;
  } catch (const CLI::RequiredError& e) {
    app.exit(e);
    if (std::string(e.what()).starts_with("model"))
      std::fputs("An option that takes a list, such as --ignore, takes all words after it: name the model first.\n", stderr);
    return 2;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const lacuna::cli::AnswerIsNo&) {
    return 1;
  } catch (const lacuna::Error& e) {
    std::fprintf(stderr, "error (%s): %s\n", code_name(e.code()), e.what());
    return 1;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "error (resource_exhausted): out of memory\n");
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
