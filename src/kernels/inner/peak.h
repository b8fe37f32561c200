// Loops that do nothing but the instruction that bounds a kernel. Each runs `rounds` rounds and returns the operations done.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lacuna::kernels {

namespace avx2 {
int64_t peak_f32(int64_t rounds) noexcept;
int64_t peak_int8(int64_t rounds) noexcept;  // vpmaddubsw, vpmaddwd, vpaddd
// Reads all of it; the sum keeps the loads alive.
uint64_t read_bytes(const std::byte* data, int64_t size) noexcept;
}  // namespace avx2
namespace avx2_vnni {
int64_t peak_int8(int64_t rounds) noexcept;
}
namespace avx512 {
int64_t peak_f32(int64_t rounds) noexcept;
uint64_t read_bytes(const std::byte* data, int64_t size) noexcept;
}  // namespace avx512
namespace avx512_vnni {
int64_t peak_int8(int64_t rounds) noexcept;
}
namespace avx512_bf16 {
int64_t peak_bf16(int64_t rounds) noexcept;
}
namespace amx_bf16 {
int64_t peak_bf16(int64_t rounds) noexcept;
}
namespace amx_int8 {
int64_t peak_int8(int64_t rounds) noexcept;
}

}  // namespace lacuna::kernels
