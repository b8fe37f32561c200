// The one exception type of the library. Everything that input can cause (files, shapes, options) throws it;
// what only a bug can cause is an assertion.
#pragma once

#include <stdexcept>
#include <string>

namespace lacuna {

enum class ErrorCode {
  kInvalidArgument,    // an option or request that cannot be served
  kInvalidData,        // bytes that are not what they claim to be
  kNotFound,           // a file, tensor, name that is not there
  kUnsupported,        // well-formed, but not something Lacuna does
  kIo,                 // the operating system refused (disk full, permission)
  kResourceExhausted,  // memory, cache capacity
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

struct InvalidArgument : Error {
  explicit InvalidArgument(const std::string& m) : Error(ErrorCode::kInvalidArgument, m) {}
};
struct InvalidData : Error {
  explicit InvalidData(const std::string& m) : Error(ErrorCode::kInvalidData, m) {}
};
struct NotFound : Error {
  explicit NotFound(const std::string& m) : Error(ErrorCode::kNotFound, m) {}
};
struct Unsupported : Error {
  explicit Unsupported(const std::string& m) : Error(ErrorCode::kUnsupported, m) {}
};
struct IoError : Error {
  explicit IoError(const std::string& m) : Error(ErrorCode::kIo, m) {}
};
struct ResourceExhausted : Error {
  explicit ResourceExhausted(const std::string& m) : Error(ErrorCode::kResourceExhausted, m) {}
};

}  // namespace lacuna
