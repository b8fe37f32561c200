// NumPy arrays in .npy files.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace lacuna {

// f2 f4 f8, i1 ... i8, u1 ... u8, b1; format versions 1 to 3; Fortran order is transposed. Throws NotFound, IoError, InvalidData on
// bytes that are not an array of the stated size, Unsupported on another element type or byte order.
Tensor read_npy(const std::filesystem::path& path);
// The same from bytes; `name` opens every message.
Tensor parse_npy(std::span<const std::byte> file, const std::string& name);

// C order, little-endian; bf16 becomes f4. Requires bits_of(dtype) >= 8. Throws IoError.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace lacuna
