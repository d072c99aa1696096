#include "halftone/eval/rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

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

// Written as vectors, which GCC does not find at -O2.
using Four = float __attribute__((vector_size(16)));
inline Four larger(Four a, Four b) { return a > b ? a : b; }
inline Four smaller(Four a, Four b) { return a < b ? a : b; }
inline Four four_of(const float* x) {
  Four out;
  std::memcpy(&out, x, sizeof(out));
  return out;
}

// With s = |p - q| / (p + q) and a = |log q - log p|, so that s = tanh(a / 2), what an entry adds to
// KL(p || m) + KL(q || m) is half of (p + q) g, and
//   g = (1 - s) log(1 - s) + (1 + s) log(1 + s) = s a + log(1 - s^2) = 2 log(1 + s) - a (1 - s)
// The first form does not suffer from an error of s where s is small, the second none from a. One
// logarithm is left, of a number near 1: log((1 + z) / (1 - z)) = 2 (z + z^3 / 3 + ...), |z| < 1/3.
inline Four js_terms(Four p, Four q, Four a) {
  const Four sum = larger(p + q, Four{} + std::numeric_limits<float>::min());
  const Four s = larger(p - q, q - p) / sum, rest = 2.0f * smaller(p, q) / sum;  // 1 - s
  const Four y = s * s;
  const auto small = s < 0.5f;
  const Four z = (small ? y : s) / (small ? y - 2.0f : s + 2.0f), w = z * z;
  Four series = w * (1.0f / 15) + 1.0f / 13;
  series = w * series + 1.0f / 11;
  series = w * series + 1.0f / 9;
  series = w * series + 1.0f / 7;
  series = w * series + 1.0f / 5;
  series = w * series + 1.0f / 3;
  const Four log = 2.0f * z * (w * series + 1.0f);
  return sum * (small ? s * a + log : 2.0f * log - a * rest);
}

}  // namespace

int64_t rows_per_chunk(int64_t vocabulary) {
  return std::clamp<int64_t>((int64_t{1} << 22) / vocabulary, 1, 64);
}

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

TopFive top_five(std::span<const float> row) {
  TopFive out;
  std::array<float, 5> values{};
  const auto worth = [&](float v) { return out.count < values.size() || v > values.back(); };
  for (size_t i = 0; i < row.size(); i += kBlock) {
    const size_t n = std::min(kBlock, row.size() - i);
    if (!worth(ops().max(row.data() + i, static_cast<int64_t>(n)))) continue;
    for (size_t k = i; k < i + n; ++k) {
      if (!worth(row[k])) continue;
      size_t at = out.count < values.size() ? out.count++ : values.size() - 1;
      for (; at > 0 && row[k] > values[at - 1]; --at) {
        values[at] = values[at - 1];
        out.ids[at] = out.ids[at - 1];
      }
      values[at] = row[k];
      out.ids[at] = static_cast<int32_t>(k);
    }
  }
  return out;
}

double overlap(const TopFive& a, const TopFive& b) {
  size_t common = 0;
  for (size_t i = 0; i < a.count; ++i)
    common +=
        std::find(b.ids.begin(), b.ids.begin() + b.count, a.ids[i]) != b.ids.begin() + b.count;
  return static_cast<double>(common) / static_cast<double>(a.count);
}

RowDistance distance(std::span<const float> p, const RowSum& p_sum, std::span<const float> q,
                     const RowSum& q_sum) {
  constexpr size_t kLanes = 8;
  const double shift = p_sum.log_sum - q_sum.log_sum;
  // exp_sum takes the log sum in f32: what that rounds off is a factor of every probability.
  const auto p_log = static_cast<float>(p_sum.log_sum), q_log = static_cast<float>(q_sum.log_sum);
  const auto p_factor = static_cast<float>(std::exp(static_cast<double>(p_log) - p_sum.log_sum)),
             q_factor = static_cast<float>(std::exp(static_cast<double>(q_log) - q_sum.log_sum));
  // Blocks of one length, zeros behind the end of the last one.
  alignas(16) float ps[kBlock], qs[kBlock], apart[kBlock];
  double mass[kLanes] = {}, kl[kLanes] = {}, js = 0;
  for (size_t i = 0; i < p.size(); i += kBlock) {
    const size_t n = std::min(kBlock, p.size() - i);
    const float *x = p.data() + i, *y = q.data() + i;
    ops().exp_sum(x, static_cast<int64_t>(n), 1.0f, p_log, ps);
    ops().exp_sum(y, static_cast<int64_t>(n), 1.0f, q_log, qs);
    for (size_t k = 0; k < n; ++k)
      apart[k] = static_cast<float>(static_cast<double>(x[k]) - static_cast<double>(y[k]) - shift);
    for (float* row : {ps, qs, apart}) std::fill(row + n, row + kBlock, 0.0f);
    for (size_t k = 0; k < kBlock; k += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const auto weight = static_cast<double>(ps[k + lane]);
        mass[lane] += weight;
        kl[lane] += weight * static_cast<double>(apart[k + lane]);
      }
    Four terms{};  // none is negative: as sums of exponentials, f32 within a block
    for (size_t k = 0; k < kBlock; k += 4) {
      const Four d = four_of(apart + k);
      terms += js_terms(four_of(ps + k) * p_factor, four_of(qs + k) * q_factor, larger(d, -d));
    }
    for (size_t k = 0; k < 4; ++k) js += static_cast<double>(terms[k]);
  }
  const auto sum = [](const double* lanes) { return std::accumulate(lanes, lanes + kLanes, 0.0); };
  return {.kl = sum(kl) / sum(mass), .js = js / 4};
}

double total_tokens(const Protocol& protocol) {
  double total = 0;
  for (const Window& window : protocol.windows)
    total += static_cast<double>(window.end - window.begin);
  return total;
}

}  // namespace halftone::eval
