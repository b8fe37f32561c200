// Tensors of an ONNX file: element types, values held in the message, in the mapped file or beside it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "sparse/weight.h"

namespace lacuna::onnx {

class TensorProto;

// ONNX TensorProto.DataType codes; nullopt for those Lacuna has no type for (string, complex, 8-bit floats).
std::optional<DType> dtype_of_code(int code) noexcept;
int code_of(DType dtype) noexcept;
// "float8e4m3fn" for 17, "string" for 8, "type 99" for what the specification does not name.
std::string type_name_of_code(int code);

// Reads the tensors of one file. Cost of `read`: nothing for mapped data but checks.
class TensorReader {
 public:
  // `file` is the mapped model at `path`; external data is looked for in its folder only.
  TensorReader(std::filesystem::path path, Bytes file);

  // Values of a tensor, as a view of the mapped file where they lie there. The view may be unaligned: see `stored`.
  // Throws InvalidData naming the tensor if shape, length, location and type do not fit together, NotFound and IoError for
  // external files. Requires a type that dtype_of_code knows.
  struct Stored {
    DType dtype;
    Shape shape;
    Bytes bytes;  // row-major little-endian as ONNX stores it: 4-bit values packed without row padding
    bool mapped = false;
  };
  Stored stored(const TensorProto& proto, std::string_view what);
  // The values, aligned and in the house's layout.
  Tensor read(const TensorProto& proto, std::string_view what);

 private:
  Bytes external(const TensorProto& proto, const std::string& what, size_t wanted);

  std::filesystem::path path_;
  Bytes file_;
  std::map<std::string, Bytes> external_;  // mapped files by location
};

// Stored bytes as a tensor: a view if aligned, else a copy.
Tensor to_tensor(const TensorReader::Stored& stored);
// A weight source over stored bytes: loads by viewing or copying, drops mapped pages.
std::shared_ptr<const WeightSource> source_of(TensorReader::Stored stored);
// A source of quantized values: codes as stored, with scales and optional zero points in memory.
std::shared_ptr<const WeightSource> coded_source(std::shared_ptr<const WeightSource> codes, Tensor scales, Tensor zero_points);

// A source of 4-bit values, one per byte.
std::shared_ptr<const WeightSource> widened_source(std::shared_ptr<const WeightSource> nibbles);

}  // namespace lacuna::onnx
