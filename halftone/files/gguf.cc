// Opening: the header read as far as it goes, the parts of a split put together, and the tensors.
#include "halftone/files/gguf.h"

#include <algorithm>

#include "halftone/base/bytes.h"
#include "halftone/files/recognise.h"
#include "halftone/files/tensor_table.h"

namespace halftone::files {
namespace {

constexpr uint64_t kFirstRead = 1 << 20;
constexpr uint64_t kLargestHeader = 1ull << 30;

std::pair<std::shared_ptr<GgufFile>, std::shared_ptr<const std::vector<std::byte>>> read_part(
    const ReadFile& file, const Context& context) {
  uint64_t want = std::min(file.size(), kFirstRead);
  for (;;) {
    auto header = std::make_shared<std::vector<std::byte>>(want);
    file.read(0, *header);
    uint64_t need = 0;
    if (want == 0) refuse_usual_mistakes({}, file.path(), "GGUF");
    auto parsed = parse_gguf_header(*header, file.size(), file.path(), context.limits, &need);
    if (parsed) return {std::move(parsed), std::move(header)};
    if (need > kLargestHeader)
      throw FileError(Code::limit, file.path(),
                      "has a header of more than " + std::to_string(kLargestHeader) + " bytes");
    want = std::min(file.size(), std::max(need, want * 4));
  }
}

std::string numbered(int64_t part, int64_t count) {
  const auto five = [](int64_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "-" + five(part) + "-of-" + five(count) + ".gguf";
}

}  // namespace

std::shared_ptr<const GgufFile> open_gguf(const std::string& path, const Context& context) {
  auto handle = context.env->open(path);
  auto [file, header] = read_part(*handle, context);
  const int64_t parts = file->integer("split.count", 0, 99999, 1);
  if (parts > 1) {
    const int64_t number = file->integer("split.no", 0, parts - 1);
    const std::string ending = numbered(number + 1, parts);
    if (!path.ends_with(ending))
      throw FileError(Code::mismatch, path,
                      "is part " + std::to_string(number + 1) + " of " + std::to_string(parts) +
                          ", but its name does not end in " + ending,
                      {}, "give the parts their names back");
    const std::string stem = path.substr(0, path.size() - ending.size());
    if (number != 0) return open_gguf(stem + numbered(1, parts), context);
  }
  file->parts.push_back(std::move(handle));
  file->headers_.push_back(std::move(header));
  for (int64_t i = 1; i < parts; ++i) {
    const std::string ending = numbered(1, parts);
    const std::string next = path.substr(0, path.size() - ending.size()) + numbered(i + 1, parts);
    if (!context.env->stat(next))
      throw FileError(Code::missing, next,
                      "no such file, but " + quote(file_name(path)) + " is one of " +
                          std::to_string(parts) + " parts",
                      {}, "download the missing part");
    auto next_handle = context.env->open(next);
    auto [part, part_header] = read_part(*next_handle, context);
    if (part->integer("split.no", 0, parts - 1) != i ||
        part->integer("split.count", 0, 99999) != parts)
      throw FileError(Code::mismatch, next,
                      "is not part " + std::to_string(i + 1) + " of " + std::to_string(parts));
    for (GgufTensor& tensor : part->tensors) {
      tensor.part = static_cast<size_t>(i);
      file->tensors.push_back(std::move(tensor));
    }
    file->parts.push_back(std::move(next_handle));
  }
  if (parts > 1) {
    auto& tensors = file->tensors;
    std::sort(tensors.begin(), tensors.end(),
              [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
    for (size_t i = 1; i < tensors.size(); ++i)
      if (tensors[i].name == tensors[i - 1].name)
        throw FileError(Code::duplicate, path,
                        "tensor " + quote(tensors[i].name) + " is in two parts");
    const int64_t declared =
        file->integer("split.tensors.count", 0, INT32_MAX, static_cast<int64_t>(tensors.size()));
    if (declared != static_cast<int64_t>(tensors.size()))
      throw FileError(Code::mismatch, path,
                      "declares " + std::to_string(declared) + " tensors in all parts, they hold " +
                          std::to_string(tensors.size()));
  }
  check_gguf_metadata(*file, context.limits);
  return file;
}

namespace {

class GgufSource : public TensorSource {
 public:
  GgufSource(std::shared_ptr<const GgufFile> file, GgufRead what)
      : file_(std::move(file)), what_(what) {
    for (const GgufTensor& tensor : file_->tensors) {
      const std::string& path = file_->parts[tensor.part]->path();
      if (!tensor.type->readable())
        throw UnsupportedError(path,
                               "tensor " + quote(tensor.name) + " has type " +
                                   std::string(tensor.type->name) +
                                   ", which halftone recognises but does not decode",
                               "use a file of another type, for example Q4_K_M");
      TensorInfo info;
      info.name = tensor.name;
      info.dtype = tensor.type->dense.value_or(DType::f32);
      info.shape = tensor.shape;
      info.stored_as = tensor.type->name;
      info.stored_bytes = tensor.bytes;
      info.file = path;
      infos_.push_back(std::move(info));
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  const TensorInfo* find(const std::string& name) const override {
    const int64_t i = index_of(infos_, name);
    return i < 0 ? nullptr : &infos_[static_cast<size_t>(i)];
  }

  HostTensor read(const std::string& name) const override {
    const GgufTensor& tensor = at(name);
    HostTensor out(tensor.type->dense.value_or(DType::f32), tensor.shape);
    load_into(tensor, 0, tensor.bytes, out);
    return out;
  }

  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    const GgufTensor& tensor = at(name);
    const RowRange range =
        row_range(infos_[static_cast<size_t>(require_tensor(infos_, name, file_->path))],
                  tensor.bytes, begin, end);
    HostTensor out(tensor.type->dense.value_or(DType::f32), range.shape);
    if (tensor.shape.size() > 1 || tensor.type->dense) {
      load_into(tensor, range.offset, range.size, out);
    } else {  // rows of a vector are single elements, which blocks do not separate
      const HostTensor all = read(name);
      const auto wanted =
          all.as<float>().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      std::copy(wanted.begin(), wanted.end(), out.as<float>().begin());
    }
    return out;
  }

  std::span<const std::byte> mapped(const std::string& name) const override {
    const GgufTensor& tensor = at(name);
    const auto all = file_->parts[tensor.part]->map();
    return all.empty() ? all : all.subspan(tensor.offset, tensor.bytes);
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    file_->parts[at(name).part]->forget(part);
  }

 private:
  const GgufTensor& at(const std::string& name) const {
    return file_->tensors[static_cast<size_t>(require_tensor(infos_, name, file_->path))];
  }

  // Bytes [offset, offset + size) of the tensor, decoded piece by piece through a buffer that stays
  // in cache.
  void load_into(const GgufTensor& tensor, uint64_t offset, uint64_t size, HostTensor& out) const {
    const ReadFile& file = *file_->parts[tensor.part];
    if (tensor.type->dense) return file.read(tensor.offset + offset, out.bytes());
    const auto block = static_cast<uint64_t>(tensor.type->bytes);
    const uint64_t step = (64 * 1024) / block * block;
    std::vector<std::byte> buffer(std::min(size, step));
    float* target = out.as<float>().data();
    const auto decode = what_ == GgufRead::values ? tensor.type->decode : tensor.type->steps;
    for (uint64_t done = 0; done < size;) {
      const uint64_t piece = std::min(step, size - done);
      file.read(tensor.offset + offset + done, std::span(buffer).first(piece));
      const auto blocks = static_cast<int64_t>(piece / block);
      decode(buffer.data(), target, blocks);
      target += blocks * tensor.type->elements;
      done += piece;
    }
  }

  std::shared_ptr<const GgufFile> file_;
  GgufRead what_;
  std::vector<TensorInfo> infos_;  // same order as file_->tensors
};

}  // namespace

std::shared_ptr<const TensorSource> gguf_tensors(std::shared_ptr<const GgufFile> file,
                                                 GgufRead what) {
  return std::make_shared<GgufSource>(std::move(file), what);
}

}  // namespace halftone::files
