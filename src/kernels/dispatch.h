// What every candidate shares: naming the instruction set it needs, and the trace of refusals.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/cpu.h"

namespace lacuna::kernels {

// Why a kernel of this ISA folder cannot run: "this CPU has no avx512_vbmi2", or that LACUNA_ISA leaves it out; nullopt if it can. Known: avx2,
// avx2_vnni, avx512, avx512_vnni, avx512_vbmi, avx512_vbmi2 (which includes vnni and vbmi), avx512_bf16, amx_bf16, amx_int8.
std::optional<std::string> lacks(const CpuFeatures& cpu, std::string_view isa);

// Of the sources of all kernels and what compiled them: times taken with another build say nothing about this one.
std::string_view build_id() noexcept;

// How a kernel's weight is packed, which its name says: "dense", "dense panels", "codes", "bitmask", "window128", "n16", "blocks", "quads", "csr",
// "bsr4", "depthwise".
std::string packed_format(std::string_view kernel);

// Receives one line per refused and chosen candidate. By default lines go to stderr if the environment variable LACUNA_TRACE contains
// "dispatch", else nowhere; nullptr restores that. Set it before work starts.
using TraceSink = void (*)(std::string_view line);
void set_dispatch_trace(TraceSink sink) noexcept;
bool traces_dispatch() noexcept;
void trace_dispatch(std::string_view line);  // goes nowhere unless traces_dispatch()

}  // namespace lacuna::kernels
