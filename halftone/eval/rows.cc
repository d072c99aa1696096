#include "halftone/eval/rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "halftone/kernel/isa.h"
#include "halftone/kernel/vector_ops.h"

namespace halftone::eval {
namespace {

// Exponentials are summed in f32 within a block (kBlock / 16 + 5 roundings at most), blocks in f64.
constexpr size_t kBlock = 128;

const kernel::VectorOps& ops() {
  static const kernel::VectorOps& found = *kernel::best_kernels().vector;
  return found;
}

struct Largest {
  float value = -std::numeric_limits<float>::infinity();
  size_t index = 0;
};

Largest largest(std::span<const float> row) {
  Largest out;
  size_t begin = 0;
  for (size_t i = 0; i < row.size(); i += kBlock) {
    const auto n = static_cast<int64_t>(std::min(kBlock, row.size() - i));
    const float most = ops().max(row.data() + i, n);
    if (most > out.value) out.value = most, begin = i;
  }
  const auto block = row.subspan(begin, std::min(kBlock, row.size() - begin));
  const auto at = std::find(block.begin(), block.end(), out.value);
  if (at != block.end()) out.index = begin + static_cast<size_t>(at - block.begin());
  return out;
}

}  // namespace

RowSum log_sum_exp(std::span<const float> row) {
  return log_sum_exp(row, [](size_t, std::span<const float>) {});
}

RowSum log_sum_exp(std::span<const float> row, TakeWeights take) {
  const Largest most = largest(row);
  std::array<float, kBlock> weights;
  double sum = 0;
  for (size_t i = 0; i < row.size(); i += kBlock) {
    const size_t n = std::min(kBlock, row.size() - i);
    sum += static_cast<double>(
        ops().exp_sum(row.data() + i, static_cast<int64_t>(n), 1.0f, most.value, weights.data()));
    take(i, std::span(weights).first(n));
  }
  RowSum out;
  out.max = most.value;
  out.argmax = static_cast<int32_t>(most.index);
  out.log_sum = static_cast<double>(most.value) + std::log(sum);
  return out;
}

double total_tokens(const Protocol& protocol) {
  double total = 0;
  for (const Window& window : protocol.windows)
    total += static_cast<double>(window.end - window.begin);
  return total;
}

}  // namespace halftone::eval
