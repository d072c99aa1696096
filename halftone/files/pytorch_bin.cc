#include "halftone/files/pytorch_bin.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>

#include "halftone/base/bytes.h"
#include "halftone/files/pickle.h"
#include "halftone/files/recognise.h"
#include "halftone/files/sharded.h"
#include "halftone/files/tensor_table.h"
#include "halftone/files/zip.h"

namespace halftone::files {
namespace {

// A record of raw elements, with its checksum verified at most once.
struct Record {
  ZipEntry entry;
  std::unique_ptr<std::once_flag> once = std::make_unique<std::once_flag>();
};

class PytorchFile : public TensorSource {
 public:
  PytorchFile(std::shared_ptr<const ReadFile> file, const Context& context)
      : file_(std::move(file)) {
    const std::string& path = file_->path();
    refuse_legacy();
    const std::vector<ZipEntry> entries = read_zip_directory(*file_, context.limits);
    check_crc_ = std::any_of(entries.begin(), entries.end(),
                             [](const ZipEntry& e) { return e.size != 0 && e.crc != 0; });
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& entry : entries) {
      if (!entry.name.ends_with("/data.pkl")) continue;
      if (pickle != nullptr) throw FileError(Code::duplicate, path, "holds two data.pkl");
      pickle = &entry;
    }
    if (pickle == nullptr)
      throw FileError(Code::missing, path,
                      "is a zip archive without data.pkl, so not a PyTorch checkpoint");
    const std::string root =
        pickle->name.substr(0, pickle->name.size() - std::string_view("data.pkl").size());
    if (find_entry(entries, root + "constants.pkl"))
      throw UnsupportedError(path, "is a TorchScript archive, not a checkpoint",
                             "save the model's state_dict() as safetensors");
    for (const ZipEntry& entry : entries)
      if (entry.compressed)
        throw UnsupportedError(
            path, "zip entry " + quote(entry.name) + " is compressed, PyTorch stores its entries",
            "re-save it in PyTorch");
    if (const ZipEntry* order = find_entry(entries, root + "byteorder")) {
      std::string text(std::min<uint64_t>(order->size, 16), '\0');
      file_->read(order->offset, std::as_writable_bytes(std::span(text.data(), text.size())));
      if (text.starts_with("big"))
        throw UnsupportedError(path, "was saved on a big-endian machine",
                               "re-save it as safetensors");
    }
    if (pickle->size > context.limits.header_json_bytes)
      throw FileError(Code::limit, path,
                      "data.pkl has " + std::to_string(pickle->size) + " bytes, the limit is " +
                          std::to_string(context.limits.header_json_bytes));
    verify(*pickle);
    std::vector<std::byte> program(pickle->size);
    file_->read(pickle->offset, program);
    StateDict state = read_state_dict(program, path, context.limits);

    std::map<std::string, size_t> by_key;
    for (PickledTensor& tensor : state.tensors) {
      const auto [it, fresh] = by_key.emplace(tensor.storage, records_.size());
      if (fresh) {
        const ZipEntry* entry = find_entry(entries, root + "data/" + tensor.storage);
        if (entry == nullptr)
          throw FileError(Code::missing, path,
                          "tensor " + quote(tensor.name) + ": the archive has no record " +
                              quote("data/" + tensor.storage));
        records_.push_back({*entry});
      }
      const Record& record = records_[it->second];
      if (tensor.storage_bytes > record.entry.size)
        throw FileError(Code::bounds, path,
                        "tensor " + quote(tensor.name) + ": its storage should have " +
                            std::to_string(tensor.storage_bytes) + " bytes, the record has " +
                            std::to_string(record.entry.size));
      TensorInfo info;
      info.name = tensor.name;
      info.dtype = tensor.dtype;
      info.shape = tensor.shape;
      info.stored_as = dtype_name(tensor.dtype);
      info.stored_bytes =
          static_cast<uint64_t>(element_count(tensor.shape) * dtype_bytes(tensor.dtype));
      info.file = path;
      table_.add(std::move(info), {it->second, tensor.offset, std::move(tensor.stride)});
    }
    table_.finish(path);
    if (!check_crc_ && !records_.empty())
      context.warn(path + ": has no checksums, so damage to its data cannot be noticed");
    if (state.skipped != 0)
      context.info(path + ": " + std::to_string(state.skipped) +
                   " entries that are no tensors were skipped");
  }

  const std::vector<TensorInfo>& tensors() const override { return table_.tensors(); }
  const TensorInfo* find(const std::string& name) const override { return table_.find(name); }

  HostTensor read(const std::string& name) const override {
    const int64_t i = table_.require(name, file_->path());
    return gather(i, table_.info(i).shape, table_.extra(i).offset);
  }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    const int64_t i = table_.require(name, file_->path());
    RowRange range = row_range(table_.info(i), table_.info(i).stored_bytes, begin, end);
    return gather(i, range.shape, table_.extra(i).offset + begin * table_.extra(i).stride[0]);
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    const int64_t i = table_.require(name, file_->path());
    const TensorInfo& info = table_.info(i);
    const auto all = file_->map();
    if (all.empty() || info.stored_bytes == 0 || !row_major(info.shape, table_.extra(i).stride))
      return {};
    verified(i);
    return all.subspan(position(i, table_.extra(i).offset), info.stored_bytes);
  }

 private:
  struct View {
    size_t record;
    int64_t offset;
    std::vector<int64_t> stride;
  };

  void refuse_legacy() const {
    // torch before 1.6 begins with a pickled magic number.
    constexpr std::array<unsigned char, 15> kMagic = {
        0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
    std::array<std::byte, kMagic.size()> head{};
    const auto n = static_cast<size_t>(std::min<uint64_t>(head.size(), file_->size()));
    file_->read(0, std::span(head).first(n));
    if (std::memcmp(head.data(), kMagic.data(), kMagic.size()) == 0)
      throw UnsupportedError(file_->path(), "is in PyTorch's format from before 1.6",
                             "load it in PyTorch and re-save it as safetensors");
    if (n >= 2 && head[0] == std::byte{0x80})
      throw UnsupportedError(file_->path(), "is a bare pickle, which halftone never runs",
                             "if you trust it, re-save it as safetensors");
  }

  void verify(const ZipEntry& entry) const {
    if (check_crc_ && entry_crc(*file_, entry) != entry.crc)
      throw FileError(Code::mismatch, file_->path(),
                      "record " + quote(entry.name) + " is damaged: its checksum differs", {},
                      "download it again");
  }
  const Record& verified(int64_t i) const {
    const Record& record = records_[table_.extra(i).record];
    std::call_once(*record.once, [&] { verify(record.entry); });
    return record;
  }
  uint64_t position(int64_t i, int64_t element) const {
    const Record& record = records_[table_.extra(i).record];
    return record.entry.offset + static_cast<uint64_t>(element * dtype_bytes(table_.info(i).dtype));
  }
  static bool row_major(const Shape& shape, const std::vector<int64_t>& stride) {
    int64_t want = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      if (shape[d] != 1 && stride[d] != want) return false;
      want *= shape[d];
    }
    return true;
  }

  // Elements shape of the view that starts at `offset`, row-major.
  HostTensor gather(int64_t i, const Shape& shape, int64_t offset) const {
    const TensorInfo& info = table_.info(i);
    const std::vector<int64_t>& stride = table_.extra(i).stride;
    HostTensor out(info.dtype, shape);
    if (out.count() == 0) return out;
    verified(i);
    if (row_major(shape, stride)) {
      file_->read(position(i, offset), out.bytes());
      return out;
    }
    int64_t last = 0;
    for (size_t d = 0; d < shape.size(); ++d) last += (shape[d] - 1) * stride[d];
    const auto width = static_cast<size_t>(dtype_bytes(info.dtype));
    std::vector<std::byte> source(static_cast<size_t>(last + 1) * width);
    file_->read(position(i, offset), source);
    std::vector<int64_t> index(shape.size(), 0);
    int64_t at = 0;
    std::byte* target = out.bytes().data();
    for (int64_t n = 0; n < out.count(); ++n, target += width) {
      std::memcpy(target, source.data() + static_cast<size_t>(at) * width, width);
      for (size_t d = shape.size(); d-- > 0;) {  // the next index, last dimension fastest
        at += stride[d];
        if (++index[d] < shape[d]) break;
        at -= shape[d] * stride[d];
        index[d] = 0;
      }
    }
    return out;
  }

  std::shared_ptr<const ReadFile> file_;
  bool check_crc_ = true;
  std::vector<Record> records_;
  TensorTable<View> table_;
};

}  // namespace

std::shared_ptr<const TensorSource> open_pytorch(std::shared_ptr<const ReadFile> file,
                                                 const Context& context) {
  return std::make_shared<PytorchFile>(std::move(file), context);
}

std::shared_ptr<const TensorSource> open_pytorch(const std::string& path, const Context& context) {
  return open_pytorch(context.env->open(path), context);
}

std::shared_ptr<const TensorSource> open_pytorch_index(const std::string& index_path,
                                                       const Context& context) {
  return open_sharded(index_path, context,
                      [&](const std::string& path) { return open_pytorch(path, context); });
}

}  // namespace halftone::files
