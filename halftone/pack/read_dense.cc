#include <algorithm>
#include <cmath>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/pack/read_linear.h"

namespace halftone::pack {
namespace {

std::string of_tensor(const std::string& name) { return "tensor " + quote(name) + ": "; }

template <class T>
void transpose(std::span<const T> in, int64_t rows, int64_t cols, std::span<T> out) {
  constexpr int64_t kBlock = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock)
    for (int64_t c0 = 0; c0 < cols; c0 += kBlock)
      for (int64_t r = r0; r < std::min(rows, r0 + kBlock); ++r)
        for (int64_t c = c0; c < std::min(cols, c0 + kBlock); ++c)
          out[static_cast<size_t>(c * rows + r)] = in[static_cast<size_t>(r * cols + c)];
}

}  // namespace

void contradiction(Code code, const files::TensorInfo& info, const std::string& fact) {
  throw FileError(code, info.file, of_tensor(info.name) + fact);
}

const files::TensorInfo& require(const files::TensorSource& tensors, const std::string& name,
                                 std::initializer_list<DType> dtypes) {
  const files::TensorInfo* info = tensors.find(name);
  if (info == nullptr) {
    std::vector<std::string> names;
    for (const auto& t : tensors.tensors()) names.push_back(t.name);
    const auto near = nearest_name(name, names);
    const std::string file =
        tensors.tensors().empty() ? std::string() : tensors.tensors().front().file;
    throw FileError(Code::missing, file, of_tensor(name) + "is missing", {},
                    near ? "the nearest name is " + *near : "");
  }
  if (std::find(dtypes.begin(), dtypes.end(), info->dtype) == dtypes.end()) {
    std::string wanted;
    for (const DType d : dtypes)
      wanted += (wanted.empty() ? "" : " or ") + std::string(dtype_name(d));
    contradiction(Code::type, *info, "is " + info->stored_as + ", wanted " + wanted);
  }
  return *info;
}

void require_shape(const files::TensorInfo& info, const Shape& shape, std::string_view why) {
  if (info.shape != shape)
    contradiction(Code::mismatch, info,
                  "shape is " + to_string(info.shape) + ", wanted " + to_string(shape) + " (" +
                      std::string(why) + ")");
}

std::vector<float> read_floats(const files::TensorSource& tensors, const std::string& name,
                               bool finite) {
  const HostTensor f = to_f32(tensors.read(name));
  const auto values = f.as<float>();
  if (finite) {
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad != values.end())
      contradiction(Code::nonfinite, *tensors.find(name),
                    "element " + std::to_string(bad - values.begin()) + " is not finite");
  }
  return {values.begin(), values.end()};
}

bool finite_halves(std::span<const std::byte> f16) {
  bool finite = true;
  for (size_t i = 0; i + 2 <= f16.size(); i += 2) {
    uint16_t h;
    std::memcpy(&h, f16.data() + i, 2);
    finite &= (h & 0x7c00u) != 0x7c00u;
  }
  return finite;
}

std::vector<float> read_bias(const files::TensorSource& tensors, const std::string& module,
                             const spec::Linear& linear) {
  const std::string name = linear.bias ? linear.bias->name : module + ".bias";
  if (!linear.bias && tensors.find(name) == nullptr) return {};
  require_shape(require(tensors, name, kFloatTypes), {linear.out}, "one for each output");
  return read_floats(tensors, name, true);
}

std::vector<int32_t> read_column_groups(const files::TensorSource& tensors, const std::string& name,
                                        const format::Format& format, int64_t cols) {
  const files::TensorInfo& info = *tensors.find(name);
  const HostTensor stored = tensors.read(name);
  const auto g = stored.as<int32_t>();
  std::vector<int32_t> groups(g.begin(), g.end());
  if (std::all_of(groups.begin(), groups.end(), [](int32_t v) { return v == -1; }))
    return {};  // declared, never set
  bool trivial = true;
  for (int64_t k = 0; k < cols; ++k) {
    const int32_t v = groups[static_cast<size_t>(k)];
    if (v < 0 || v >= format.groups(cols))
      contradiction(Code::bounds, info,
                    "column " + std::to_string(k) + " is in group " + std::to_string(v) + " of " +
                        std::to_string(format.groups(cols)));
    trivial =
        trivial && v == (format.granularity == format::Granularity::group ? k / format.group : 0);
  }
  if (trivial) groups.clear();
  return groups;
}

DecoratedLinear read_dense(const files::TensorSource& tensors, const std::string& module,
                           const spec::Linear& linear) {
  const spec::TensorRef& ref = linear.weight;
  const files::TensorInfo& info = require(tensors, ref.name, kDenseTypes);
  require_shape(
      info, linear.weight.transposed ? Shape{linear.in, linear.out} : Shape{linear.out, linear.in},
      "from config.json");
  DecoratedLinear out;
  out.name = module;
  out.out = linear.out;
  out.in = linear.in;
  HostTensor w = tensors.read(ref.name);
  if (w.dtype() != DType::f32 && w.dtype() != DType::f16 && w.dtype() != DType::bf16) w = to_f32(w);
  if (ref.transposed) {
    HostTensor t(w.dtype(), {linear.out, linear.in});
    if (w.dtype() == DType::f32)
      transpose(std::as_const(w).as<float>(), linear.in, linear.out, t.as<float>());
    else
      transpose(std::as_const(w).as<uint16_t>(), linear.in, linear.out, t.as<uint16_t>());
    w = std::move(t);
  }
  out.weight = std::move(w);
  if (linear.bias) out.bias = read_bias(tensors, module, linear);
  return out;
}

}  // namespace halftone::pack
