#include "halftone/spec/gguf_config.h"

#include <algorithm>
#include <charconv>

#include "halftone/base/error.h"
#include "halftone/files/gguf.h"

namespace halftone::spec {
namespace {
constexpr int64_t kMaxInteger = int64_t{1} << 40;
}

GgufArchitecture::GgufArchitecture(const files::GgufFile& file)
    : file_(file), prefix_(file.text("general.architecture") + ".") {}

bool GgufArchitecture::has(std::string_view key) const { return file_.has(key_of(key)); }

int64_t GgufArchitecture::integer(std::string_view key, std::optional<int64_t> absent) const {
  const std::string name = key_of(key);
  const files::GgufValue* value = file_.find(name);
  if (value != nullptr && value->is_array) {
    const std::vector<int64_t> all = file_.integers(name);
    if (all.empty()) throw FileError(Code::value, path(), name + " is an empty list");
    if (std::any_of(all.begin(), all.end(), [&](int64_t x) { return x != all.front(); }))
      throw UnsupportedError(path(), name + " differs from layer to layer",
                             "models with one value for all layers work");
    return all.front();
  }
  return file_.integer(name, 0, kMaxInteger, absent);
}

double GgufArchitecture::number(std::string_view key, std::optional<double> absent) const {
  if (!has(key) && absent) return *absent;
  // The file holds 1e-5 as an f32; config.json should say 1e-05, not 9.99999974e-06.
  char digits[32];
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), static_cast<float>(file_.number(key_of(key))))
          .ptr;
  double value = 0;
  std::from_chars(digits, end, value);
  return value;
}

std::string GgufArchitecture::text(std::string_view key, std::optional<std::string> absent) const {
  return file_.text(key_of(key), std::move(absent));
}
bool GgufArchitecture::boolean(std::string_view key, std::optional<bool> absent) const {
  return file_.boolean(key_of(key), absent);
}

int64_t GgufArchitecture::rows(const std::string& tensor, int64_t absent) const {
  const files::GgufTensor* found = file_.find_tensor(tensor);
  if (found == nullptr) return absent;
  if (found->shape.size() != 2)
    throw FileError(
        Code::mismatch, path(),
        "tensor " + quote(tensor) + " has shape " + to_string(found->shape) + ", wanted a matrix");
  return found->shape[0];
}

int64_t GgufArchitecture::vocabulary() const {
  const int64_t count = rows("token_embd.weight", -1);
  if (count < 0) throw FileError(Code::missing, path(), "tensor \"token_embd.weight\" is missing");
  return count;
}

bool GgufArchitecture::has_tensor(const std::string& name) const {
  return file_.find_tensor(name) != nullptr;
}

void GgufArchitecture::refuse_experts() const {
  if (const int64_t experts = integer("expert_count", 0); experts > 0)
    throw UnsupportedError(path(),
                           key_of("expert_count") + " is " + std::to_string(experts) +
                               ": mixtures of experts are not known",
                           "use a dense model");
}

int64_t GgufArchitecture::head_dim() const {
  const int64_t heads = std::max<int64_t>(1, integer("attention.head_count"));
  const int64_t dims = integer("attention.key_length", integer("embedding_length") / heads);
  if (const int64_t values = integer("attention.value_length", dims); values != dims)
    throw UnsupportedError(path(), key_of("attention.value_length") + " is " +
                                       std::to_string(values) + ", the keys of a head have " +
                                       std::to_string(dims) + " dimensions");
  if (const int64_t rotated = integer("rope.dimension_count", dims); rotated != dims)
    throw UnsupportedError(
        path(), key_of("rope.dimension_count") + " is " + std::to_string(rotated) +
                    " and a head has " + std::to_string(dims) +
                    " dimensions: rotating a part of them is not known for this architecture");
  return dims;
}

void GgufArchitecture::special_ids(Json& config) const {
  static constexpr std::pair<std::string_view, std::string_view> kIds[] = {
      {"tokenizer.ggml.bos_token_id", "bos_token_id"},
      {"tokenizer.ggml.eos_token_id", "eos_token_id"},
      {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
  for (const auto& [gguf, hf] : kIds)
    if (file_.has(gguf)) config[std::string(hf)] = file_.integer(gguf, 0, 1ll << 31);
}

const std::string& GgufArchitecture::path() const { return file_.path; }

}  // namespace halftone::spec
