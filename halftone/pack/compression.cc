#include "halftone/pack/compression.h"

#include <algorithm>
#include <cctype>

#include "halftone/base/error.h"

namespace halftone::pack {
namespace {

LinearStorage storage_of(const PackedModel& model, const spec::Op& op) {
  const auto& linear = std::get<spec::Linear>(op.params);
  LinearStorage out{.op = &op,
                    .role = linear.role,
                    .weights = linear.in * linear.out,
                    .bytes = stored_bytes(model, op),
                    .kind = {}};
  if (const auto* format = model.plan().find(op.name, format::Port::weight)) {
    out.code_bits = static_cast<double>(format->bits);
    out.kind = format->label();
    return out;
  }
  const files::TensorInfo* info = model.checkpoint().tensors->find(linear.weight.name);
  check(info != nullptr, "a linear that is not quantized has a tensor");
  out.code_bits = 8 * static_cast<double>(info->stored_bytes) / static_cast<double>(out.weights);
  out.kind = info->stored_as;
  std::transform(out.kind.begin(), out.kind.end(), out.kind.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

}  // namespace

uint64_t stored_bytes(const PackedModel& model, const spec::Op& op) {
  const files::TensorSource& tensors = *model.checkpoint().tensors;
  uint64_t bytes = 0;
  if (model.plan().find(op.name, format::Port::weight) != nullptr) {
    // Its parts are called after the op, whatever the layout.
    const auto& infos = tensors.tensors();
    const std::string prefix = op.name + ".";
    auto at =
        std::lower_bound(infos.begin(), infos.end(), prefix,
                         [](const auto& info, const std::string& n) { return info.name < n; });
    for (; at != infos.end() && at->name.starts_with(prefix); ++at) bytes += at->stored_bytes;
    return bytes;
  }
  spec::each_tensor(op, [&](const spec::TensorRef& ref) {
    if (const files::TensorInfo* info = tensors.find(ref.name)) bytes += info->stored_bytes;
  });
  return bytes;
}

std::vector<LinearStorage> linear_storage(const PackedModel& model) {
  std::vector<LinearStorage> out;
  for (const auto& ref : spec::linears(model.checkpoint().spec))
    out.push_back(storage_of(model, *ref.op));
  return out;
}

Compression compression(const PackedModel& model) {
  double codes = 0, weights = 0, means = 0, inner_bits = 0, inner_weights = 0;
  const auto linears = linear_storage(model);
  for (const LinearStorage& linear : linears) {
    const auto n = static_cast<double>(linear.weights);
    codes += linear.code_bits * n;
    weights += n;
    means += linear.code_bits;
    if (linear.role == spec::Role::head) continue;
    inner_bits += 8 * static_cast<double>(linear.bytes);
    inner_weights += n;
  }
  return {.nominal = ratio(codes, weights),
          .effective = model.bits_per_weight(),
          .layer_mean = ratio(means, static_cast<double>(linears.size())),
          .linears = ratio(inner_bits, inner_weights)};
}

}  // namespace halftone::pack
