#include <algorithm>
#include <csignal>
#include <string_view>

#include "cli/cli.h"
#include "lacuna/json.h"

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

// Said before or after any verb; a file of that name would be given as ./--json.
bool wants_json(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* word) { return std::string_view(word) == "--json"; });
}

// To people on stderr; to a program that asked for JSON on stdout as well.
int failure(const char* code, const std::string& message, bool json, int status = 1) {
  std::fprintf(stderr, "error (%s): %s\n", code, message.c_str());
  if (json) std::printf("%s\n", lacuna::error_to_json(code, message).c_str());
  return status;
}

// "prune ", or nothing if none was read.
std::string verb_of(const CLI::App& app) {
  auto verbs = app.get_subcommands();
  return verbs.empty() ? "" : verbs.front()->get_name() + " ";
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

std::string unknown(const std::string& what, const std::string& word, const std::string& meant, const std::vector<std::string>& known) {
  return "unknown " + what + " '" + word + (meant.empty() ? "'." : "'; did you mean '" + meant + "'?") + " Known: " + listed(known);
}

// What is wrong with the words of a command line that cannot be read: a verb or an option that there is not; else what the parser says.
std::string explained(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  auto parsed = app.get_subcommands();
  if (parsed.empty()) {
    std::vector<std::string> verbs;
    for (auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) verbs.push_back(verb->get_name());
    auto verb = std::find_if(words.begin(), words.end(), [](auto& word) { return !word.starts_with("-"); });
    return verb == words.end() ? std::string(error.what()) + ". The verbs: " + listed(verbs)
                               : unknown("verb", *verb, lacuna::cli::nearest(*verb, verbs), verbs);
  }
  if (!dynamic_cast<const CLI::ExtrasError*>(&error)) return error.what();
  std::vector<std::string> first, all;  // spellings: of each option the first, and all of them
  for (auto* option : parsed.front()->get_options())
    for (auto& name : option->get_lnames()) {
      if (name == option->get_lnames().front()) first.push_back("--" + name);
      all.push_back("--" + name);
    }
  for (auto& word : words) {
    std::string option = word.substr(0, word.find('='));
    if (!option.starts_with("--") || option == "--" || std::find(all.begin(), all.end(), option) != all.end()) continue;
    return unknown("option", option, lacuna::cli::nearest(option, all), first);
  }
  return error.what();
}

// The parser takes "" for 0, which a variable that is not set would give.
void refuse_empty_numbers(CLI::App& app) {
  auto check = [](const std::string& text) { return std::string(text.empty() ? "found nothing, wanted a number" : ""); };
  for (auto* verb : app.get_subcommands([](CLI::App*) { return true; }))
    for (auto* option : verb->get_options())
      for (const char* number : {"INT", "UINT", "FLOAT"})
        if (option->get_type_name().starts_with(number)) option->check(check);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);
  CLI::App app{"Lacuna makes neural networks sparse, and runs them so that the zeros are really skipped."};
  app.set_version_flag("--version", LACUNA_VERSION);
  app.require_subcommand(1);
  app.footer(
      "lacuna VERB --help explains a verb and gives an example.\n"
      "Exit status: 0 if what was asked was done; 1 if not; 2 if the command line cannot be read. With --json the result, or\n"
      "{\"error\": {\"code\", \"message\"}}, is one JSON value on stdout.");
#define LACUNA_VERB(name) lacuna::cli::add_##name(app);
#include "cli/verbs.def"
#undef LACUNA_VERB
  refuse_empty_numbers(app);
  if (argc == 1) {
    std::fputs(app.help().c_str(), stdout);
    return 2;
  }
  const bool json = wants_json(argc, argv);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw lacuna::IoError("cannot write to the standard output");
    return 0;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::string message = explained(app, e, argc, argv);
    if (dynamic_cast<const CLI::RequiredError*>(&e) && message.starts_with("model"))
      message += ". An option that takes a list, such as --ignore, takes all words after it: name the model first";
    return failure("usage", message + "; see lacuna " + verb_of(app) + "--help", json, 2);
  } catch (const lacuna::cli::AnswerIsNo&) {
    return 1;
  } catch (const lacuna::Error& e) {
    return failure(code_name(e.code()), e.what(), json);
  } catch (const std::bad_alloc&) {
    return failure("resource_exhausted", "out of memory", json);
  } catch (const std::exception& e) {
    return failure("internal", e.what(), json);
  }
}
