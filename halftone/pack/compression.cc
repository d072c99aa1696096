#include "halftone/pack/compression.h"

#include "halftone/base/error.h"

namespace halftone::pack {

Compression compression(const PackedModel& model) {
  const spec::Checkpoint& checkpoint = model.checkpoint();
  double bits = 0, weights = 0, sum = 0, linears = 0;
  for (const auto& ref : spec::linears(checkpoint.spec)) {
    const spec::Linear& linear = ref.linear();
    const double count = static_cast<double>(linear.in) * static_cast<double>(linear.out);
    double each = 0;
    if (const auto* format = model.plan().find(ref.op->name, format::Port::weight)) {
      each = static_cast<double>(format->bits);
    } else {
      const files::TensorInfo* info = checkpoint.tensors->find(linear.weight.name);
      check(info != nullptr, "a linear that is not quantized has a tensor");
      each = static_cast<double>(info->stored_bytes) * 8 / count;
    }
    bits += each * count;
    weights += count;
    sum += each;
    linears += 1;
  }
  return {.nominal = weights > 0 ? bits / weights : 0,
          .effective = model.bits_per_weight(),
          .layer_mean = linears > 0 ? sum / linears : 0};
}

}  // namespace halftone::pack
