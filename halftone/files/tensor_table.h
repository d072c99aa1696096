// The table that every TensorSource keeps: tensors sorted by name, each once, with the reader's own
// row beside it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

// Index of `name` in `tensors` (sorted by name), or -1.
int64_t index_of(const std::vector<TensorInfo>& tensors, const std::string& name);
// The same, but absent is FileError{E_MISSING} naming `path` and the nearest name.
int64_t require_tensor(const std::vector<TensorInfo>& tensors, const std::string& name,
                       const std::string& path);
// Bytes of rows [begin, end) of a row-major tensor: {first byte, size}. Our own bug if the rows do
// not exist.
struct RowRange {
  uint64_t offset = 0, size = 0;
  Shape shape;
};
RowRange row_range(const TensorInfo& info, uint64_t bytes, int64_t begin, int64_t end);

template <class Extra>
class TensorTable {
 public:
  void add(TensorInfo info, Extra extra) { rows_.push_back({std::move(info), std::move(extra)}); }
  // Sorts; a name twice is FileError{E_DUP}.
  void finish(const std::string& path) {
    std::sort(rows_.begin(), rows_.end(),
              [](const Row& a, const Row& b) { return a.info.name < b.info.name; });
    tensors_.reserve(rows_.size());
    extras_.reserve(rows_.size());
    for (Row& row : rows_) {
      if (!tensors_.empty() && tensors_.back().name == row.info.name)
        throw FileError(Code::duplicate, path, "tensor " + quote(row.info.name) + " appears twice");
      tensors_.push_back(std::move(row.info));
      extras_.push_back(std::move(row.extra));
    }
    rows_ = {};
  }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Extra& extra(int64_t i) const { return extras_[static_cast<size_t>(i)]; }
  const TensorInfo& info(int64_t i) const { return tensors_[static_cast<size_t>(i)]; }
  const TensorInfo* find(const std::string& name) const {
    const int64_t i = index_of(tensors_, name);
    return i < 0 ? nullptr : &info(i);
  }
  int64_t require(const std::string& name, const std::string& path) const {
    return require_tensor(tensors_, name, path);
  }

 private:
  struct Row {
    TensorInfo info;
    Extra extra;
  };
  std::vector<Row> rows_;
  std::vector<TensorInfo> tensors_;
  std::vector<Extra> extras_;
};

}  // namespace halftone::files
