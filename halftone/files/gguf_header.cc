// The header of a GGUF: counts, keys, tensor table; then where each tensor lies.
#include <algorithm>
#include <cstring>

#include "halftone/base/bytes.h"
#include "halftone/files/gguf.h"
#include "halftone/files/recognise.h"

namespace halftone::files {

// Everything is checked against the length of the file, whatever part of it is at hand.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, uint64_t file_size, const std::string& path,
             const Limits& limits)
      : bytes_(bytes),
        in_(bytes, path, 0, file_size),
        limits_(limits),
        file_(std::make_shared<GgufFile>()) {
    file_->path = path;
  }

  std::shared_ptr<GgufFile> parse() {
    if (std::memcmp(in_.bytes(4, "the magic").data(), "GGUF", 4) != 0) {
      refuse_usual_mistakes(bytes_.first(std::min(bytes_.size(), kRecogniseBytes)), in_.path(),
                            "GGUF");
      fail(Code::magic, "does not begin with \"GGUF\"");
    }
    file_->version = in_.u32("the version");
    if ((file_->version & 0xffff) == 0 && file_->version != 0)
      fail(Code::version, "is a big-endian GGUF, which halftone does not read");
    if (file_->version != 2 && file_->version != 3)
      fail(Code::version,
           "is GGUF version " + std::to_string(file_->version) + ", halftone reads 2 and 3");
    const uint64_t n_tensors = in_.u64("the tensor count"), n_keys = in_.u64("the key count");
    if (n_tensors > limits_.tensors)
      fail(Code::limit, "declares " + std::to_string(n_tensors) + " tensors, the limit is " +
                            std::to_string(limits_.tensors));
    if (n_keys > limits_.keys)
      fail(Code::limit, "declares " + std::to_string(n_keys) + " keys, the limit is " +
                            std::to_string(limits_.keys));
    for (uint64_t i = 0; i < n_keys; ++i) read_key();
    read_alignment();
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();
    place_tensors();
    return std::move(file_);
  }

 private:
  [[noreturn]] void fail(Code code, std::string fact) const {
    throw FileError(code, in_.path(), std::move(fact));
  }
  // Whatever `body` throws says which tensor it speaks of.
  template <class Body>
  static void about(std::string_view tensor, const Body& body) {
    try {
      body();
    } catch (Error& error) {
      error.note("tensor " + quote(tensor));
      throw;
    }
  }

  std::string_view string(uint64_t max, std::string_view what) {
    return in_.str(in_.u64(what), max, what);
  }
  std::string_view name(uint64_t max, const std::string& what) {
    const std::string_view text = string(max, "a " + what + "'s name");
    if (text.empty()) fail(Code::value, "has a " + what + " without a name");
    if (!valid_utf8(text)) fail(Code::utf8, what + " name " + quote(text) + " is not valid UTF-8");
    return text;
  }

  GgufType type(std::string_view key) {
    const uint32_t id = in_.u32("a value type");
    if (id > static_cast<uint32_t>(GgufType::f64))
      fail(Code::type, "key " + quote(key) + " has unknown type " + std::to_string(id));
    return static_cast<GgufType>(id);
  }

  void read_key() {
    const std::string_view key = name(limits_.name_bytes, "key");
    GgufValue value;
    value.type = type(key);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = type(key);
      if (value.type == GgufType::array)
        fail(Code::type, "key " + quote(key) + " is an array of arrays");
      value.count = in_.u64("an array's length");
      if (value.count > limits_.array_elements)
        fail(Code::limit, "key " + quote(key) + " has " + std::to_string(value.count) +
                              " elements, the limit is " + std::to_string(limits_.array_elements));
    }
    if (value.type == GgufType::string) {
      value.strings.reserve(std::min<uint64_t>(value.count, in_.at_hand() / 8));
      for (uint64_t i = 0; i < value.count; ++i)
        value.strings.push_back(string(limits_.string_bytes, "a string"));
    } else {
      const std::string what = "the value of " + quote(key);
      value.raw = in_.bytes(checked_mul(value.count, gguf_type_bytes(value.type), what), what);
    }
    if (!file_->by_key_.emplace(key, file_->metadata.size()).second)
      fail(Code::duplicate, "key " + quote(key) + " appears twice");
    file_->metadata.emplace_back(std::string(key), std::move(value));
  }

  void read_alignment() {
    const GgufValue* value = file_->find("general.alignment");
    if (value == nullptr) return;
    if (value->type != GgufType::u32 || value->is_array)
      fail(Code::type, "general.alignment is not a u32");
    file_->alignment = ByteReader(value->raw, in_.path()).u32();
    if (file_->alignment < limits_.alignment_min || file_->alignment > limits_.alignment_max ||
        (file_->alignment & (file_->alignment - 1)) != 0)
      fail(Code::value, "general.alignment is " + std::to_string(file_->alignment) +
                            ", wanted a power of two from " +
                            std::to_string(limits_.alignment_min) + " to " +
                            std::to_string(limits_.alignment_max));
  }

  void read_tensor() {
    GgufTensor tensor;
    tensor.name = name(limits_.gguf_tensor_name_bytes, "tensor");
    about(tensor.name, [&] { read_shape_and_place(tensor); });
    file_->tensors.push_back(std::move(tensor));
  }

  void read_shape_and_place(GgufTensor& tensor) {
    const uint32_t rank = in_.u32("a tensor's rank");
    if (rank > 4) fail(Code::limit, "has " + std::to_string(rank) + " dimensions, GGUF allows 4");
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const uint64_t dim = in_.u64("a dimension");
      if (dim == 0) fail(Code::value, "has a dimension of 0");
      count = checked_mul(count, dim, "its number of elements");
      tensor.shape.push_back(static_cast<int64_t>(dim));  // fits: the product does
    }
    const int64_t row = tensor.shape.empty() ? 1 : tensor.shape[0];
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    const uint32_t id = in_.u32("a tensor's type");
    tensor.type = block_type(id);
    if (tensor.type == nullptr)
      fail(Code::type, "has unknown or removed type " + std::to_string(id));
    if (row % tensor.type->elements != 0)
      fail(Code::mismatch, "rows of " + std::to_string(row) + " do not divide into blocks of " +
                               std::to_string(tensor.type->elements) + " (" +
                               std::string(tensor.type->name) + ")");
    checked_mul(count, 8, "its size in bytes");  // decoded, in the widest type
    tensor.bytes = checked_mul(count / static_cast<uint64_t>(tensor.type->elements),
                               static_cast<uint64_t>(tensor.type->bytes), "its size in bytes");
    tensor.offset = in_.u64("a tensor's offset");
    if (tensor.offset % file_->alignment != 0)
      fail(Code::value, "offset " + std::to_string(tensor.offset) +
                            " is not a multiple of the alignment " +
                            std::to_string(file_->alignment));
  }

  // Offsets become positions in the file; nothing may overlap or leave it.
  void place_tensors() {
    auto& tensors = file_->tensors;
    if (tensors.empty()) return;
    const uint64_t data = round_up(in_.position(), file_->alignment, "the start of the data");
    uint64_t sum = 0;
    bool in_order = true;  // as llama.cpp wants it: one after the other, padded to the alignment
    for (const GgufTensor& tensor : tensors) {
      constexpr std::string_view kAll = "the size of all tensors together";
      in_order = in_order && tensor.offset == sum;
      sum = checked_add(sum, round_up(tensor.bytes, file_->alignment, kAll), kAll);
    }
    std::sort(tensors.begin(), tensors.end(), [](const GgufTensor& a, const GgufTensor& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.name < b.name;
    });
    const uint64_t available = in_.size() > data ? in_.size() - data : 0;
    uint64_t end = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      GgufTensor& tensor = tensors[i];
      about(tensor.name, [&] {
        if (i > 0 && tensor.offset < end)
          fail(Code::overlap, "offset " + std::to_string(tensor.offset) + " lies inside tensor " +
                                  quote(tensors[i - 1].name));
        constexpr std::string_view kEnd = "the end of its range";
        end = checked_add(tensor.offset, tensor.bytes, kEnd);
        checked_add(data, end, kEnd);
        if (end > available && !in_order)
          fail(Code::bounds, "range " + std::to_string(tensor.offset) + ".." + std::to_string(end) +
                                 " ends past the data (" + std::to_string(available) + " bytes)");
        tensor.offset += data;
      });
    }
    if (end > available)  // a sound layout and too few bytes: the file was cut
      throw FileError(Code::truncated, in_.path(),
                      "download incomplete: has " + std::to_string(in_.size()) + " bytes, needs " +
                          std::to_string(data + end),
                      {}, "download it again");
    std::sort(tensors.begin(), tensors.end(),
              [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
    for (size_t i = 1; i < tensors.size(); ++i)
      if (tensors[i].name == tensors[i - 1].name)
        fail(Code::duplicate, "tensor " + quote(tensors[i].name) + " appears twice");
  }

  std::span<const std::byte> bytes_;
  ByteReader in_;
  const Limits& limits_;
  std::shared_ptr<GgufFile> file_;
};

std::shared_ptr<GgufFile> parse_gguf_header(std::span<const std::byte> bytes, uint64_t file_size,
                                            const std::string& path, const Limits& limits,
                                            uint64_t* need) {
  *need = 0;
  try {
    return GgufParser(bytes, file_size, path, limits).parse();
  } catch (const NeedMore& more) {
    *need = more.bytes;
    return nullptr;
  } catch (Error& error) {
    if (error.subject().empty()) error.set_subject(path);  // arithmetic does not know the file
    throw;
  }
}

}  // namespace halftone::files
