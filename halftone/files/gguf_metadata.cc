// The metadata of a GGUF, by key: typed getters, and the checks of what a model is built from.
#include <algorithm>
#include <cmath>

#include "halftone/base/bytes.h"
#include "halftone/files/gguf.h"

namespace halftone::files {

std::string_view gguf_type_name(GgufType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

uint64_t gguf_type_bytes(GgufType type) {
  static constexpr uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<size_t>(type)];
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

bool is_integer(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean &&
         type != GgufType::string && type != GgufType::array;
}

// The values of a key, one after the other. The header's parser has seen that they are all there.
ByteReader reader_of(const GgufFile& file, const GgufValue& value) {
  return {value.raw, file.path};
}

// As i64; a u64 beyond it is clamped, which every range check refuses.
int64_t next_integer(ByteReader& in, GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::boolean:
      return in.u8();
    case GgufType::i8:
      return in.i8();
    case GgufType::u16:
      return in.u16();
    case GgufType::i16:
      return in.i16();
    case GgufType::u32:
      return in.u32();
    case GgufType::i32:
      return in.i32();
    case GgufType::u64:
      return static_cast<int64_t>(std::min(in.u64(), static_cast<uint64_t>(INT64_MAX)));
    default:
      return in.i64();
  }
}

}  // namespace

int64_t GgufFile::integer(std::string_view key, int64_t low, int64_t high,
                          std::optional<int64_t> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || !is_integer(value->type)) wrong_type(*this, key, *value, "a whole number");
  ByteReader in = reader_of(*this, *value);
  const int64_t x = next_integer(in, value->type);
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
  ByteReader in = reader_of(*this, *value);
  const double x = value->type == GgufType::f32 ? in.f32() : in.f64();
  if (!std::isfinite(x)) throw FileError(Code::value, path, std::string(key) + " is not finite");
  return x;
}

bool GgufFile::boolean(std::string_view key, std::optional<bool> absent) const {
  const GgufValue* value = look_up(*this, key, !absent);
  if (value == nullptr) return *absent;
  if (value->is_array || value->type != GgufType::boolean)
    wrong_type(*this, key, *value, "true or false");
  return reader_of(*this, *value).u8() != 0;
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
  ByteReader in = reader_of(*this, *value);
  std::vector<int64_t> out(value->count);
  for (int64_t& x : out) x = next_integer(in, value->type);
  return out;
}

std::vector<float> GgufFile::numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (value->type != GgufType::f32) wrong_type(*this, key, *value, "an array of f32");
  ByteReader in = reader_of(*this, *value);
  std::vector<float> out(value->count);
  for (float& x : out) x = in.f32();
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

}  // namespace halftone::files
