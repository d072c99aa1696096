// One linear out of a file, in each storage that quantized folders use. `check_*` looks at headers
// only (names, dtypes, shapes); `read_*` may rely on it and checks values. Both throw FileError
// naming file and tensor. Layouts: docs/pack.md.
#pragma once

#include <optional>
#include <string>

#include "halftone/files/tensor_source.h"
#include "halftone/pack/bits.h"
#include "halftone/pack/decorated_linear.h"
#include "halftone/pack/quantization_config.h"

namespace halftone::pack {

struct LinearFile {
  const files::TensorSource& tensors;
  const QuantizationConfig& config;
  const std::string& module;  // op name
  const spec::Linear& linear;
  const Scheme& scheme;
};

// Does the file hold quantized weights for this module at all (whatever the config says)?
bool has_quantized_weights(const files::TensorSource& tensors, const std::string& module);

// The format with what only tensors tell: scale_dtype.
format::Format check_compressed(const LinearFile& file);
DecoratedLinear read_compressed(const LinearFile& file);
// Nothing where it is stored another way than StoredLinear says, or is not mapped.
std::optional<StoredLinear> stored_compressed(const LinearFile& file);

struct GptqZeros {
  int64_t version = 1;       // 1: stored minus one
  bool wrong_label = false;  // sym, and the words say the other version than config.json
  bool wrapped = false;      // v1 fields of all ones: zero-point 0
};
format::Format check_gptq(const LinearFile& file);
// Reads the zero-points only, to find wrong labels once for a model.
GptqZeros probe_gptq_zeros(const LinearFile& file);
DecoratedLinear read_gptq(const LinearFile& file, int64_t version);
std::optional<StoredLinear> stored_gptq(const LinearFile& file, int64_t version);

// Dense weights [out, in] as stored (f32, f16, bf16; f64 and f8 become f32), un-transposed, with
// the spec's bias.
DecoratedLinear read_dense(const files::TensorSource& tensors, const std::string& module,
                           const spec::Linear& linear);

// Shared by the readers.
const files::TensorInfo& require(const files::TensorSource& tensors, const std::string& name,
                                 std::initializer_list<DType> dtypes);
void require_shape(const files::TensorInfo& info, const Shape& shape, std::string_view why);
[[noreturn]] void contradiction(Code code, const files::TensorInfo& info, const std::string& fact);
std::vector<float> read_floats(const files::TensorSource& tensors, const std::string& name,
                               bool finite);
bool finite_halves(std::span<const std::byte> f16);
// The bias of the spec, or of a decoration the file adds; empty when there is none.
std::vector<float> read_bias(const files::TensorSource& tensors, const std::string& module,
                             const spec::Linear& linear);
// [K] group of each column, checked to lie in [0, groups); empty when it is k / group.
std::vector<int32_t> read_column_groups(const files::TensorSource& tensors, const std::string& name,
                                        const format::Format& format, int64_t cols);
inline constexpr std::initializer_list<DType> kDenseTypes = {
    DType::f32, DType::f16, DType::bf16, DType::f64, DType::f8_e4m3, DType::f8_e5m2};
inline constexpr std::initializer_list<DType> kFloatTypes = {DType::f32, DType::f16, DType::bf16};

}  // namespace halftone::pack
