#include "halftone/runtime/row_table.h"

#include "halftone/base/error.h"

namespace halftone::runtime {
namespace {

class TiedTable final : public RowTable {
 public:
  explicit TiedTable(std::shared_ptr<const kernel::TiledWeights> w)
      : RowTable(w->rows(), w->cols()), w_(std::move(w)) {}
  void read(int64_t row, std::span<float> out) const override { w_->row(row, out); }

 private:
  std::shared_ptr<const kernel::TiledWeights> w_;
};

class MappedTable final : public RowTable {
 public:
  MappedTable(std::shared_ptr<const files::TensorSource> source, const files::TensorInfo& info,
              std::span<const std::byte> bytes)
      : RowTable(info.shape[0], info.shape[1]),
        source_(std::move(source)),
        bytes_(bytes),
        dtype_(info.dtype) {}
  void read(int64_t row, std::span<float> out) const override {
    to_f32(dtype_, bytes_.data() + row * width() * dtype_bytes(dtype_), out);
  }

 private:
  std::shared_ptr<const files::TensorSource> source_;  // keeps the mapping
  std::span<const std::byte> bytes_;
  DType dtype_;
};

class FileTable final : public RowTable {
 public:
  FileTable(std::shared_ptr<const files::TensorSource> source, const files::TensorInfo& info)
      : RowTable(info.shape[0], info.shape[1]), source_(std::move(source)), name_(info.name) {}
  void read(int64_t row, std::span<float> out) const override {
    const HostTensor values = source_->read_rows(name_, row, row + 1);
    to_f32(values.dtype(), values.bytes().data(), out);
  }

 private:
  std::shared_ptr<const files::TensorSource> source_;
  std::string name_;
};

class HeldTable final : public RowTable {
 public:
  explicit HeldTable(HostTensor t) : RowTable(t.dim(0), t.dim(1)), t_(std::move(t)) {}
  void read(int64_t row, std::span<float> out) const override {
    to_f32(t_.dtype(), t_.bytes().data() + row * width() * dtype_bytes(t_.dtype()), out);
  }

 private:
  HostTensor t_;
};

constexpr int64_t kHeldElements = int64_t{1} << 20;  // tables of positions and token types

}  // namespace

std::span<const std::byte> stored_as_read(const files::TensorSource& source,
                                          const files::TensorInfo& info) {
  if (info.stored_as != dtype_name(info.dtype)) return {};
  const auto bytes = source.mapped(info.name);
  check(bytes.empty() || static_cast<int64_t>(bytes.size()) ==
                             element_count(info.shape) * dtype_bytes(info.dtype),
        "a mapped tensor of another size");
  return bytes;
}

std::shared_ptr<const RowTable> table_of(std::shared_ptr<const kernel::TiledWeights> tied_head) {
  return std::make_shared<TiedTable>(std::move(tied_head));
}

std::shared_ptr<const RowTable> table_of(const std::shared_ptr<const files::TensorSource>& source,
                                         const std::string& name, uint64_t* mapped,
                                         uint64_t* held) {
  const files::TensorInfo& info = *source->find(name);
  const auto bytes = stored_as_read(*source, info);
  if (!bytes.empty()) {
    *mapped += bytes.size();
    return std::make_shared<MappedTable>(source, info, bytes);
  }
  if (element_count(info.shape) > kHeldElements) return std::make_shared<FileTable>(source, info);
  HostTensor t = source->read(name);
  *held += t.bytes().size();
  return std::make_shared<HeldTable>(std::move(t));
}

}  // namespace halftone::runtime
