#include "halftone/files/tensor_table.h"

namespace halftone::files {

int64_t index_of(const std::vector<TensorInfo>& tensors, const std::string& name) {
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorInfo& info, const std::string& n) { return info.name < n; });
  return it != tensors.end() && it->name == name ? it - tensors.begin() : -1;
}

int64_t require_tensor(const std::vector<TensorInfo>& tensors, const std::string& name,
                       const std::string& path) {
  const int64_t i = index_of(tensors, name);
  if (i >= 0) return i;
  std::vector<std::string> names;
  for (const TensorInfo& info : tensors) {
    names.push_back(info.name);
    if (names.size() == 5000) break;  // the search is quadratic in the length of names
  }
  const auto near = nearest_name(name, names);
  throw FileError(Code::missing, path, "has no tensor " + quote(name), {},
                  near ? "the nearest name is " + quote(*near) : std::string());
}

RowRange row_range(const TensorInfo& info, uint64_t bytes, int64_t begin, int64_t end) {
  check(!info.shape.empty(), "rows of a scalar were asked for");
  check(0 <= begin && begin <= end && end <= info.shape[0],
        "rows outside the tensor were asked for");
  RowRange range;
  range.shape = info.shape;
  range.shape[0] = end - begin;
  if (info.shape[0] == 0) return range;
  const uint64_t row = bytes / static_cast<uint64_t>(info.shape[0]);
  range.offset = row * static_cast<uint64_t>(begin);
  range.size = row * static_cast<uint64_t>(end - begin);
  return range;
}

}  // namespace halftone::files
