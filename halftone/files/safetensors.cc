#include "halftone/files/safetensors.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <tuple>

#include "halftone/base/bytes.h"
#include "halftone/base/json.h"
#include "halftone/files/recognise.h"
#include "halftone/files/sharded.h"
#include "halftone/files/tensor_table.h"

namespace halftone::files {
namespace {

struct TypeRow {
  std::string_view name;
  int bits;
  std::optional<DType> dtype;
};
// In upstream's order of declaration: the canonical layout sorts by it, last first.
constexpr std::array<TypeRow, 22> kTypes = {{
    {"BOOL", 8, DType::boolean},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"U8", 8, DType::u8},
    {"I8", 8, DType::i8},
    {"F8_E5M2", 8, DType::f8_e5m2},
    {"F8_E4M3", 8, DType::f8_e4m3},
    {"F8_E8M0", 8, DType::f8_e8m0},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"I16", 16, DType::i16},
    {"U16", 16, DType::u16},
    {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32},
    {"U32", 32, DType::u32},
    {"F32", 32, DType::f32},
    {"C64", 64, {}},
    {"F64", 64, DType::f64},
    {"I64", 64, DType::i64},
    {"U64", 64, DType::u64},
}};

class HeaderParser {
 public:
  HeaderParser(const std::string& path, const Limits& limits) : path_(path), limits_(limits) {}

  SafetensorsHeader parse(std::string_view text, uint64_t data_offset, uint64_t data_size) {
    Limits json_limits = limits_;
    json_limits.json_file_bytes = limits_.header_json_bytes;
    const Json root = parse_json(text, path_, json_limits);
    if (!root.is_object()) fail(Code::json, "the header is not a JSON object");
    if (root.size() > limits_.tensors + 1)
      fail(Code::limit, "names " + std::to_string(root.size()) + " tensors, the limit is " +
                            std::to_string(limits_.tensors));
    header_.data_offset = data_offset;
    for (const auto& [name, value] : root.items()) {
      if (name == "__metadata__") {
        read_metadata(value);
        continue;
      }
      try {
        read_entry(name, value, data_size);
      } catch (Error& error) {  // arithmetic knows neither the file nor the tensor
        if (error.subject().empty()) error.set_subject(path_).note("tensor " + quote(name));
        throw;
      }
    }
    check_cover(data_size);
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(Code code, std::string fact) const {
    throw FileError(code, path_, std::move(fact));
  }
  [[noreturn]] void fail(Code code, std::string_view tensor, const std::string& fact) const {
    fail(code, "tensor " + quote(tensor) + ": " + fact);
  }

  void read_metadata(const Json& value) {
    if (!value.is_object()) fail(Code::type, "__metadata__ is not an object");
    for (const auto& [key, item] : value.items()) {
      if (!item.is_string()) fail(Code::type, "__metadata__ key " + quote(key) + " is not text");
      header_.metadata[key] = item.get<std::string>();
    }
  }

  uint64_t whole(std::string_view tensor, std::string_view what, const Json& value) const {
    if (!value.is_number_integer())
      fail(Code::type, tensor,
           std::string(what) + " is " + quote(value.dump(), 40) + ", wanted a whole number");
    if (!value.is_number_unsigned()) fail(Code::value, tensor, std::string(what) + " is negative");
    return value.get<uint64_t>();
  }

  void read_entry(const std::string& name, const Json& value, uint64_t data_size) {
    if (name.size() > limits_.name_bytes)
      fail(Code::limit, name,
           "the name has " + std::to_string(name.size()) + " bytes, the limit is " +
               std::to_string(limits_.name_bytes));
    if (!value.is_object()) fail(Code::type, name, "is not described by an object");
    SafetensorsEntry entry;
    entry.name = name;
    const Json *dtype = nullptr, *shape = nullptr, *offsets = nullptr;
    for (const auto& [key, item] : value.items()) {
      if (key == "dtype")
        dtype = &item;
      else if (key == "shape")
        shape = &item;
      else if (key == "data_offsets")
        offsets = &item;
      else
        fail(Code::value, name, "unknown key " + quote(key));
    }
    if (!dtype || !shape || !offsets)
      fail(Code::missing, name, "lacks dtype, shape or data_offsets");

    if (!dtype->is_string()) fail(Code::type, name, "dtype is not text");
    entry.stored_as = dtype->get<std::string>();
    const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const TypeRow& t) { return t.name == entry.stored_as; });
    if (type == kTypes.end()) fail(Code::type, name, "unknown dtype " + quote(entry.stored_as));
    entry.dtype = type->dtype;

    if (!shape->is_array()) fail(Code::type, name, "shape is not a list");
    if (shape->size() > limits_.rank)
      fail(Code::limit, name,
           "rank " + std::to_string(shape->size()) + ", the limit is " +
               std::to_string(limits_.rank));
    uint64_t bits = static_cast<uint64_t>(type->bits);
    const std::string size = "the size of shape " + quote(shape->dump(), 80);
    for (const Json& d : *shape) {
      const uint64_t dim = whole(name, "a dimension", d);
      bits = checked_mul(bits, dim, size);
      entry.shape.push_back(narrow<int64_t>(dim, "the dimension"));
    }
    if (bits % 8 != 0) fail(Code::mismatch, name, "ends inside a byte");

    if (!offsets->is_array()) fail(Code::type, name, "data_offsets is not a list");
    if (offsets->size() != 2)
      fail(Code::value, name,
           "data_offsets has " + std::to_string(offsets->size()) + " numbers, wanted 2");
    entry.begin = whole(name, "data_offsets", (*offsets)[0]);
    entry.end = whole(name, "data_offsets", (*offsets)[1]);
    const std::string range =
        "range " + std::to_string(entry.begin) + ".." + std::to_string(entry.end);
    if (entry.begin > entry.end) fail(Code::bounds, name, range + " ends before it begins");
    if (entry.end - entry.begin != bits / 8) {
      if (entry.end > data_size)
        fail(Code::bounds, name,
             range + " ends past the data (" + std::to_string(data_size) + " bytes)");
      fail(Code::mismatch, name,
           range + " has " + std::to_string(entry.end - entry.begin) + " bytes, shape " +
               to_string(entry.shape) + " of " + entry.stored_as + " needs " +
               std::to_string(bits / 8));
    }
    header_.entries.push_back(std::move(entry));
  }

  // The ranges must tile the data: no byte twice, none unclaimed.
  void check_cover(uint64_t data_size) {
    auto& entries = header_.entries;
    std::sort(entries.begin(), entries.end(),
              [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
              });
    uint64_t position = 0;
    const SafetensorsEntry* previous = nullptr;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.begin < position)
        fail(Code::overlap, entry.name,
             "range " + std::to_string(entry.begin) + ".." + std::to_string(entry.end) +
                 " shares bytes with tensor " + quote(previous->name));
      if (entry.begin > position) {
        if (entry.end > data_size)
          fail(Code::bounds, entry.name,
               "range " + std::to_string(entry.begin) + ".." + std::to_string(entry.end) +
                   " ends past the data (" + std::to_string(data_size) + " bytes)");
        fail(Code::hole, entry.name,
             "bytes " + std::to_string(position) + ".." + std::to_string(entry.begin) +
                 " before it belong to no tensor");
      }
      position = entry.end;
      previous = &entry;
    }
    if (position < data_size)
      fail(Code::hole,
           std::to_string(data_size - position) + " bytes after the last tensor belong to none");
    if (position > data_size)  // a sound layout and too few bytes: the file was cut
      throw FileError(Code::truncated, path_,
                      "download incomplete: has " +
                          std::to_string(header_.data_offset + data_size) + " bytes, needs " +
                          std::to_string(header_.data_offset + position),
                      {}, "download it again");
  }

  const std::string& path_;
  const Limits& limits_;
  SafetensorsHeader header_;
};

class OneFile : public SafetensorsSource {
 public:
  OneFile(const std::string& path, const Context& context) : file_(context.env->open(path)) {
    std::vector<std::byte> start(std::min<uint64_t>(file_->size(), kRecogniseBytes));
    file_->read(0, start);
    if (start.size() >= 8) {
      const uint64_t length = ByteReader(start, path).u64();
      if (length <= context.limits.header_json_bytes && length <= file_->size() - 8 &&
          length + 8 > start.size()) {
        start.resize(length + 8);
        file_->read(0, start);
      }
    }
    SafetensorsHeader header = parse_safetensors_header(start, file_->size(), path, context.limits);
    metadata_ = std::move(header.metadata);
    for (SafetensorsEntry& entry : header.entries) {
      TensorInfo info;
      info.name = entry.name;
      info.dtype = entry.dtype.value_or(DType::u8);
      info.shape = entry.shape;
      info.stored_as = entry.stored_as;
      std::transform(info.stored_as.begin(), info.stored_as.end(), info.stored_as.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      info.stored_bytes = entry.end - entry.begin;
      info.file = path;
      table_.add(std::move(info), {header.data_offset + entry.begin, entry.dtype.has_value()});
    }
    table_.finish(path);
  }

  const std::vector<TensorInfo>& tensors() const override { return table_.tensors(); }
  const TensorInfo* find(const std::string& name) const override { return table_.find(name); }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

  HostTensor read(const std::string& name) const override {
    const int64_t i = held(name);
    HostTensor out(table_.info(i).dtype, table_.info(i).shape);
    file_->read(table_.extra(i).offset, out.bytes());
    return out;
  }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    const int64_t i = held(name);
    RowRange range = row_range(table_.info(i), table_.info(i).stored_bytes, begin, end);
    HostTensor out(table_.info(i).dtype, std::move(range.shape));
    file_->read(table_.extra(i).offset + range.offset, out.bytes());
    return out;
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    const int64_t i = held(name);
    const auto all = file_->map();
    if (all.empty()) return {};
    return all.subspan(table_.extra(i).offset, table_.info(i).stored_bytes);
  }
  void forget(const std::string& /*name*/, std::span<const std::byte> part) const override {
    file_->forget(part);
  }

 private:
  struct Place {
    uint64_t offset;
    bool held;
  };
  int64_t held(const std::string& name) const {
    const int64_t i = table_.require(name, file_->path());
    if (!table_.extra(i).held)
      throw UnsupportedError(file_->path(), "tensor " + quote(name) + " has dtype " +
                                                table_.info(i).stored_as +
                                                ", which halftone does not read");
    return i;
  }
  std::shared_ptr<const ReadFile> file_;
  std::map<std::string, std::string> metadata_;
  TensorTable<Place> table_;
};

}  // namespace

size_t safetensors_dtype_rank(DType dtype) {
  for (size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].dtype == dtype) return i;
  check(false, "every dtype has a safetensors name");
  return 0;
}

std::string_view safetensors_dtype_name(DType dtype) {
  return kTypes[safetensors_dtype_rank(dtype)].name;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           const std::string& path, const Limits& limits) {
  const auto refuse = [&](Code code, const std::string& fact) {
    refuse_usual_mistakes(start.first(std::min(start.size(), kRecogniseBytes)), path,
                          "safetensors");
    throw FileError(code, path, fact);
  };
  if (file_size < 8 || start.size() < 8)
    refuse(Code::truncated,
           "has " + std::to_string(file_size) + " bytes, a safetensors file has at least 8");
  const uint64_t length = ByteReader(start, path).u64();
  if (length > limits.header_json_bytes)
    refuse(Code::limit, "declares a header of " + std::to_string(length) + " bytes, the limit is " +
                            std::to_string(limits.header_json_bytes));
  if (length > file_size - 8)
    refuse(Code::truncated, "download incomplete: has " + std::to_string(file_size) +
                                " bytes, its header alone needs " + std::to_string(length + 8));
  if (length == 0) refuse(Code::truncated, "declares a header of 0 bytes");
  check(start.size() - 8 >= length, "the caller gives the whole header");
  const std::string_view text(reinterpret_cast<const char*>(start.data()) + 8, length);
  if (text[0] != '{') refuse(Code::json, "the header does not begin with '{'");
  return HeaderParser(path, limits).parse(text, 8 + length, file_size - 8 - length);
}

std::shared_ptr<const SafetensorsSource> open_safetensors(const std::string& path,
                                                          const Context& context) {
  return std::make_shared<OneFile>(path, context);
}

std::shared_ptr<const TensorSource> open_safetensors_index(const std::string& index_path,
                                                           const Context& context) {
  return open_sharded(index_path, context,
                      [&](const std::string& path) { return open_safetensors(path, context); });
}

}  // namespace halftone::files
