// Safetensors files: a JSON header of names, types, shapes and offsets, then the bytes of all tensors without gaps.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "io/output_file.h"
#include "tensor/tensor.h"

namespace lacuna {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  size_t begin = 0, end = 0;  // bytes from the start of the data section
};

// What a header says. Foreign bytes, validated whole: lengths, JSON, offsets (in range, no overlap, no gap), dtype x shape = bytes.
struct SafetensorsHeader {
  size_t data_begin = 0;                        // where the data section starts in the file
  std::vector<SafetensorsEntry> entries;        // in file order (by offset)
  std::map<std::string, std::string> metadata;  // "__metadata__"
};
// `file_name` opens every message. Throws InvalidData; Unsupported listing every tensor of a type that Lacuna does not know.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& file_name);

// A mapped file. Only the header is read; tensors are views whose pages load when touched.
class SafetensorsFile {
 public:
  // Throws NotFound, IoError and what parse_safetensors_header throws.
  explicit SafetensorsFile(const std::filesystem::path& path);
  const SafetensorsHeader& header() const { return header_; }
  // nullptr if absent.
  const SafetensorsEntry* find(std::string_view name) const;
  // A view into the mapping; a copy if the bytes are not aligned for their type. Bools are checked to be 0 or 1 (InvalidData).
  Tensor tensor(const SafetensorsEntry& entry) const;
  // Forgets the pages of a tensor.
  void drop(const SafetensorsEntry& entry) const noexcept;

 private:
  Bytes bytes_entry(const SafetensorsEntry& entry) const;
  std::string name_;
  Bytes bytes_;
  SafetensorsHeader header_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Writes a file whose names, types and shapes are known up front; the bytes come tensor by tensor, in any order.
// The data of each tensor starts at a multiple of its element size, that of the first at a multiple of 64.
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;  // 4-bit types have no name in the format: declare them as u8 bytes
    Shape shape;
  };
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Declaration> declarations,
                    const std::map<std::string, std::string>& metadata = {});
  // The bytes of a declared tensor (exactly its size), each once.
  void write(std::string_view name, std::span<const std::byte> bytes);
  // Requires that every tensor was written. Syncs and renames.
  void commit();

 private:
  struct Slot {
    int64_t offset, size;
    bool written;
  };
  OutputFile file_;
  std::map<std::string, Slot, std::less<>> slots_;
};

}  // namespace lacuna
