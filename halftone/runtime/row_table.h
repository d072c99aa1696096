// An embedding table [rows, width] that is read row by row: from the mapped file, from the tiled
// head it is tied to, or from memory. f16 and bf16 stay what they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "halftone/files/tensor_source.h"
#include "halftone/kernel/tiles.h"

namespace halftone::runtime {

class RowTable {
 public:
  virtual ~RowTable() = default;
  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  // out f32 [width]; 0 <= row < rows(), the caller has checked. Safe from many threads.
  virtual void read(int64_t row, std::span<float> out) const = 0;

 protected:
  RowTable(int64_t rows, int64_t width) : rows_(rows), width_(width) {}

 private:
  int64_t rows_, width_;
};

// The mapped bytes of a tensor whose stored form is what `read` gives; empty otherwise (blocks of
// GGUF, no mapping).
std::span<const std::byte> stored_as_read(const files::TensorSource& source,
                                          const files::TensorInfo& info);

std::shared_ptr<const RowTable> table_of(std::shared_ptr<const kernel::TiledWeights> tied_head);
// Mapped where the file can be mapped as it is (`*mapped` bytes), dequantized row by row where it
// cannot be and is large, else read into memory (`*held` bytes). Float tensors only; the caller has
// checked dtype and shape.
std::shared_ptr<const RowTable> table_of(const std::shared_ptr<const files::TensorSource>& source,
                                         const std::string& name, uint64_t* mapped, uint64_t* held);

}  // namespace halftone::runtime
