#include "io/onnx/tensor_file.h"

#include <climits>

#include "base/cat.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/tensors.h"
#include "lacuna/error.h"

namespace lacuna {

NamedTensor read_onnx_tensor(const std::filesystem::path& path) {
  Bytes bytes = map_file(path);
  onnx::TensorProto proto;
  if (bytes.size > size_t(INT_MAX) || !proto.ParseFromArray(bytes.data, int(bytes.size))) throw InvalidData(cat(path, ": is not an ONNX tensor"));
  proto.clear_mapped_offset();
  proto.clear_mapped_size();
  if (!onnx::dtype_of_code(proto.data_type())) throw Unsupported(cat(path, ": holds ", onnx::type_name_of_code(proto.data_type())));
  return {proto.name(), onnx::TensorReader(path, {}).read(proto, proto.name())};
}

}  // namespace lacuna
