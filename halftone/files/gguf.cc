#include "halftone/files/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "halftone/base/bytes.h"
#include "halftone/files/recognise.h"
#include "halftone/files/tensor_table.h"

namespace halftone::files {
namespace {

constexpr uint64_t kFirstRead = 1 << 20;
constexpr uint64_t kLargestHeader = 1ull << 30;

uint64_t size_of(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 0;
  }
}

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

bool is_integer(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean &&
         type != GgufType::string && type != GgufType::array;
}

struct NeedMore {
  uint64_t bytes;
};

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

// Walks the header. Everything is checked against the length of the file; when the bytes at hand
// end earlier, NeedMore says how many are wanted (never more than the file has).
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, uint64_t file_size, const std::string& path,
             const Limits& limits)
      : bytes_(bytes),
        file_size_(file_size),
        path_(path),
        limits_(limits),
        file_(std::make_shared<GgufFile>()) {
    file_->path = path;
  }

  std::shared_ptr<GgufFile> parse() {
    const auto magic = take(4, "the magic");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
      refuse_usual_mistakes(bytes_.first(std::min(bytes_.size(), kRecogniseBytes)), path_, "GGUF");
      throw FileError(Code::magic, path_, "does not begin with \"GGUF\"");
    }
    file_->version = number<uint32_t>("the version");
    if ((file_->version & 0xffff) == 0 && file_->version != 0)
      fail(Code::version, "is a big-endian GGUF, which halftone does not read");
    if (file_->version != 2 && file_->version != 3)
      fail(Code::version,
           "is GGUF version " + std::to_string(file_->version) + ", halftone reads 2 and 3");
    const auto n_tensors = number<uint64_t>("the tensor count");
    const auto n_keys = number<uint64_t>("the key count");
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
    throw FileError(code, path_, std::move(fact));
  }

  std::span<const std::byte> take(uint64_t n, std::string_view what) {
    const uint64_t left = file_size_ - position_;
    if (n > left)
      throw FileError(Code::truncated, path_,
                      "ends inside " + std::string(what) + ": " + std::to_string(n) +
                          " bytes wanted, " + std::to_string(left) + " left",
                      position_, "download it again");
    if (n > bytes_.size() - position_) throw NeedMore{position_ + n};
    const auto out = bytes_.subspan(position_, n);
    position_ += n;
    return out;
  }
  template <class T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::string_view string(uint64_t max, std::string_view what) {
    const auto length = number<uint64_t>(what);
    if (length > max && length <= file_size_ - position_)
      fail(Code::limit, std::string(what) + " has " + std::to_string(length) +
                            " bytes, the limit is " + std::to_string(max));
    const auto raw = take(length, what);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  GgufType type(std::string_view key) {
    const auto id = number<uint32_t>("a value type");
    if (id > static_cast<uint32_t>(GgufType::f64))
      fail(Code::type, "key " + quote(key) + " has unknown type " + std::to_string(id));
    return static_cast<GgufType>(id);
  }

  void read_key() {
    const std::string_view key = string(limits_.name_bytes, "a key");
    if (key.empty()) fail(Code::value, "has a key without a name");
    if (!valid_utf8(key)) fail(Code::utf8, "key " + quote(key) + " is not valid UTF-8");
    GgufValue value;
    value.type = type(key);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = type(key);
      if (value.type == GgufType::array)
        fail(Code::type, "key " + quote(key) + " is an array of arrays");
      value.count = number<uint64_t>("an array's length");
      if (value.count > limits_.array_elements)
        fail(Code::limit, "key " + quote(key) + " has " + std::to_string(value.count) +
                              " elements, the limit is " + std::to_string(limits_.array_elements));
    }
    if (value.type == GgufType::string) {
      value.strings.reserve(std::min<uint64_t>(value.count, (bytes_.size() - position_) / 8));
      for (uint64_t i = 0; i < value.count; ++i)
        value.strings.push_back(string(limits_.string_bytes, "a string"));
    } else {
      value.raw = take(value.count * size_of(value.type), "the value of " + quote(key));
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
    file_->alignment = load<uint32_t>(value->raw.data());
    if (file_->alignment < limits_.alignment_min || file_->alignment > limits_.alignment_max ||
        (file_->alignment & (file_->alignment - 1)) != 0)
      fail(Code::value, "general.alignment is " + std::to_string(file_->alignment) +
                            ", wanted a power of two from " +
                            std::to_string(limits_.alignment_min) + " to " +
                            std::to_string(limits_.alignment_max));
  }

  void read_tensor() {
    GgufTensor tensor;
    const std::string_view name = string(limits_.gguf_tensor_name_bytes, "a tensor's name");
    if (name.empty()) fail(Code::value, "has a tensor without a name");
    if (!valid_utf8(name)) fail(Code::utf8, "tensor name " + quote(name) + " is not valid UTF-8");
    tensor.name = name;
    const std::string subject = "tensor " + quote(name) + ": ";
    const auto dims = number<uint32_t>("a tensor's rank");
    if (dims > 4)
      fail(Code::limit, subject + "has " + std::to_string(dims) + " dimensions, GGUF allows 4");
    uint64_t count = 1;
    for (uint32_t i = 0; i < dims; ++i) {
      const auto dim = number<uint64_t>("a dimension");
      if (dim == 0) fail(Code::value, subject + "has a dimension of 0");
      if (dim > static_cast<uint64_t>(INT64_MAX) || __builtin_mul_overflow(count, dim, &count) ||
          count > static_cast<uint64_t>(INT64_MAX))
        fail(Code::overflow, subject + "its number of elements overflows 64 bits");
      tensor.shape.push_back(static_cast<int64_t>(dim));
    }
    const int64_t row = tensor.shape.empty() ? 1 : tensor.shape[0];
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    const auto id = number<uint32_t>("a tensor's type");
    tensor.type = block_type(id);
    if (tensor.type == nullptr)
      fail(Code::type, subject + "has unknown or removed type " + std::to_string(id));
    if (row % tensor.type->elements != 0)
      fail(Code::mismatch,
           subject + "rows of " + std::to_string(row) + " do not divide into blocks of " +
               std::to_string(tensor.type->elements) + " (" + std::string(tensor.type->name) + ")");
    if (__builtin_mul_overflow(count / static_cast<uint64_t>(tensor.type->elements),
                               static_cast<uint64_t>(tensor.type->bytes), &tensor.bytes) ||
        tensor.bytes > static_cast<uint64_t>(INT64_MAX) ||
        count > static_cast<uint64_t>(INT64_MAX) / 8)
      fail(Code::overflow, subject + "its size in bytes overflows 64 bits");
    tensor.offset = number<uint64_t>("a tensor's offset");
    if (tensor.offset % file_->alignment != 0)
      fail(Code::value, subject + "offset " + std::to_string(tensor.offset) +
                            " is not a multiple of the alignment " +
                            std::to_string(file_->alignment));
    file_->tensors.push_back(std::move(tensor));
  }

  // Offsets become positions in the file; nothing may overlap or leave it.
  void place_tensors() {
    auto& tensors = file_->tensors;
    if (tensors.empty()) return;
    const uint64_t data = round_up(position_, file_->alignment, "the start of the data");
    uint64_t sum = 0;
    bool in_order = true;  // as llama.cpp wants it: one after the other, padded to the alignment
    for (const GgufTensor& tensor : tensors) {
      in_order = in_order && tensor.offset == sum;
      uint64_t padded = 0;
      if (__builtin_add_overflow(tensor.bytes, file_->alignment - 1, &padded) ||
          __builtin_add_overflow(sum, padded / file_->alignment * file_->alignment, &sum) ||
          sum > static_cast<uint64_t>(INT64_MAX))
        fail(Code::overflow, "the sizes of all tensors together overflow 64 bits");
    }
    std::sort(tensors.begin(), tensors.end(), [](const GgufTensor& a, const GgufTensor& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.name < b.name;
    });
    const uint64_t available = file_size_ > data ? file_size_ - data : 0;
    uint64_t end = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      GgufTensor& tensor = tensors[i];
      const std::string subject = "tensor " + quote(tensor.name) + ": ";
      if (i > 0 && tensor.offset < end)
        fail(Code::overlap, subject + "offset " + std::to_string(tensor.offset) +
                                " lies inside tensor " + quote(tensors[i - 1].name));
      if (__builtin_add_overflow(tensor.offset, tensor.bytes, &end) ||
          end > static_cast<uint64_t>(INT64_MAX) - data)
        fail(Code::overflow,
             subject + "offset " + std::to_string(tensor.offset) + " and size overflow 64 bits");
      if (end > available && !in_order)
        fail(Code::bounds, subject + "range " + std::to_string(tensor.offset) + ".." +
                               std::to_string(end) + " ends past the data (" +
                               std::to_string(available) + " bytes)");
      tensor.offset += data;
    }
    if (end > available)  // a sound layout and too few bytes: the file was cut
      throw FileError(Code::truncated, path_,
                      "download incomplete: has " + std::to_string(file_size_) + " bytes, needs " +
                          std::to_string(data + end),
                      {}, "download it again");
    std::sort(tensors.begin(), tensors.end(),
              [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
    for (size_t i = 1; i < tensors.size(); ++i)
      if (tensors[i].name == tensors[i - 1].name)
        fail(Code::duplicate, "tensor " + quote(tensors[i].name) + " appears twice");
  }

  std::span<const std::byte> bytes_;
  uint64_t file_size_, position_ = 0;
  const std::string& path_;
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
  }
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &metadata[it->second].second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const GgufTensor& t, std::string_view n) { return t.name < n; });
  return it != tensors.end() && it->name == name ? &*it : nullptr;
}

namespace {

std::string describe(const GgufValue& value) {
  return (value.is_array ? "an array of " : "a ") + std::string(gguf_type_name(value.type));
}
[[noreturn]] void wrong_type(const GgufFile& file, std::string_view key, const GgufValue& value,
                             std::string_view wanted) {
  throw FileError(Code::type, file.path,
                  std::string(key) + " is " + describe(value) + ", wanted " + std::string(wanted));
}
// Null when absent and optional.
const GgufValue* look_up(const GgufFile& file, std::string_view key, bool required) {
  const GgufValue* value = file.find(key);
  if (value == nullptr && required)
    throw FileError(Code::missing, file.path, "has no key " + std::string(key));
  return value;
}

// As i64; a u64 beyond it is clamped, which every range check refuses.
int64_t integer_at(const GgufValue& value, uint64_t i) {
  const std::byte* p = value.raw.data() + i * size_of(value.type);
  switch (value.type) {
    case GgufType::u8:
    case GgufType::boolean:
      return load<uint8_t>(p);
    case GgufType::i8:
      return load<int8_t>(p);
    case GgufType::u16:
      return load<uint16_t>(p);
    case GgufType::i16:
      return load<int16_t>(p);
    case GgufType::u32:
      return load<uint32_t>(p);
    case GgufType::i32:
      return load<int32_t>(p);
    case GgufType::u64:
      return static_cast<int64_t>(std::min(load<uint64_t>(p), static_cast<uint64_t>(INT64_MAX)));
    default:
      return load<int64_t>(p);
  }
}

}  // namespace

int64_t GgufFile::integer(std::string_view key, int64_t low, int64_t high,
                          std::optional<int64_t> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || !is_integer(value->type)) wrong_type(*this, key, *value, "a whole number");
  const int64_t x = integer_at(*value, 0);
  if (x < low || x > high)
    throw FileError(Code::value, path,
                    std::string(key) + " is " + std::to_string(x) + ", wanted " +
                        std::to_string(low) + " to " + std::to_string(high));
  return x;
}

double GgufFile::number(std::string_view key, std::optional<double> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || (value->type != GgufType::f32 && value->type != GgufType::f64))
    wrong_type(*this, key, *value, "a number");
  const double x = value->type == GgufType::f32 ? load<float>(value->raw.data())
                                                : load<double>(value->raw.data());
  if (!std::isfinite(x)) throw FileError(Code::value, path, std::string(key) + " is not finite");
  return x;
}

bool GgufFile::boolean(std::string_view key, std::optional<bool> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || value->type != GgufType::boolean)
    wrong_type(*this, key, *value, "true or false");
  return load<uint8_t>(value->raw.data()) != 0;
}

std::string GgufFile::text(std::string_view key, std::optional<std::string> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || value->type != GgufType::string) wrong_type(*this, key, *value, "text");
  if (!valid_utf8(value->strings[0]))
    throw FileError(Code::utf8, path, std::string(key) + " is not valid UTF-8");
  return std::string(value->strings[0]);
}

std::span<const std::string_view> GgufFile::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array || value->type != GgufType::string)
    wrong_type(*this, key, *value, "an array of strings");
  return value->strings;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (!is_integer(value->type) && value->type != GgufType::boolean)
    wrong_type(*this, key, *value, "an array of whole numbers");
  std::vector<int64_t> out(value->count);
  for (uint64_t i = 0; i < value->count; ++i) out[i] = integer_at(*value, i);
  return out;
}

std::vector<float> GgufFile::numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (value->type != GgufType::f32) wrong_type(*this, key, *value, "an array of f32");
  std::vector<float> out(value->count);
  if (value->count != 0) std::memcpy(out.data(), value->raw.data(), value->raw.size());
  return out;
}

void check_gguf_metadata(const GgufFile& file, const Limits& limits) {
  const auto mismatch = [&](const std::string& fact) {
    throw FileError(Code::mismatch, file.path, fact);
  };
  if (file.has("general.architecture")) {
    const std::string a = file.text("general.architecture") + ".";
    const auto positive = [&](const std::string& key, int64_t high) {
      return file.has(a + key) ? file.integer(a + key, 1, high) : 0;
    };
    positive("block_count", static_cast<int64_t>(limits.layers));
    positive("context_length", INT32_MAX);
    const int64_t width = positive("embedding_length", 1 << 24);
    for (const char* key :
         {"attention.head_count", "attention.head_count_kv", "feed_forward_length"}) {
      for (const int64_t x : file.integers(a + key))  // one value, or one for each layer
        if (x < 1 || x > 1 << 24)
          throw FileError(
              Code::value, file.path,
              a + key + " is " + std::to_string(x) + ", wanted 1 to " + std::to_string(1 << 24));
    }
    const auto heads = file.integers(a + "attention.head_count"),
               kv = file.integers(a + "attention.head_count_kv");
    if (heads.size() == 1 && width != 0 && !file.has(a + "attention.key_length") &&
        width % heads[0] != 0)
      mismatch(a + "attention.head_count " + std::to_string(heads[0]) + " does not divide " + a +
               "embedding_length " + std::to_string(width));
    if (heads.size() == 1 && kv.size() == 1 && heads[0] % kv[0] != 0)
      mismatch(a + "attention.head_count_kv " + std::to_string(kv[0]) + " does not divide " + a +
               "attention.head_count " + std::to_string(heads[0]));
  }
  const std::string t = "tokenizer.ggml.";
  const auto tokens = file.strings(t + "tokens");
  if (tokens.size() > limits.vocabulary)
    throw FileError(Code::limit, file.path,
                    t + "tokens has " + std::to_string(tokens.size()) + " entries, the limit is " +
                        std::to_string(limits.vocabulary));
  file.strings(t + "merges");
  const auto same_count = [&](const std::string& key, size_t count) {
    if (file.has(t + key) && file.has(t + "tokens") && count != tokens.size())
      mismatch(t + key + " has " + std::to_string(count) + " entries, " + t + "tokens has " +
               std::to_string(tokens.size()));
  };
  same_count("scores", file.numbers(t + "scores").size());
  same_count("token_type", file.integers(t + "token_type").size());
  for (const auto& [key, value] : file.metadata) {
    if (key.starts_with(t) && key.ends_with("_token_id") && file.has(t + "tokens"))
      file.integer(key, 0, static_cast<int64_t>(tokens.size()) - 1);
    if (key.starts_with("tokenizer.chat_template") && !value.is_array) file.text(key);
  }
}

namespace {

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
  explicit GgufSource(std::shared_ptr<const GgufFile> file) : file_(std::move(file)) {
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
    for (uint64_t done = 0; done < size;) {
      const uint64_t piece = std::min(step, size - done);
      file.read(tensor.offset + offset + done, std::span(buffer).first(piece));
      const auto blocks = static_cast<int64_t>(piece / block);
      tensor.type->decode(buffer.data(), target, blocks);
      target += blocks * tensor.type->elements;
      done += piece;
    }
  }

  std::shared_ptr<const GgufFile> file_;
  std::vector<TensorInfo> infos_;  // same order as file_->tensors
};

}  // namespace

std::shared_ptr<const TensorSource> gguf_tensors(std::shared_ptr<const GgufFile> file) {
  return std::make_shared<GgufSource>(std::move(file));
}

}  // namespace halftone::files
