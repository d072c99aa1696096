#include "halftone/runtime/noise.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/hash.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"

namespace halftone::runtime {
namespace {

constexpr int64_t kBlock = 64;  // inputs that share a step

// u in [-1, 1) for elements [0, n) of a row whose first block of the generator is `first`.
void each_uniform(const CounterRng& rng, uint64_t first, int64_t n, const auto& take) {
  for (int64_t k = 0; k < n; k += 4) {
    const auto block = rng.block(first + static_cast<uint64_t>(k / 4));
    for (int64_t i = k; i < std::min(k + 4, n); ++i)
      take(i, static_cast<double>(block[static_cast<size_t>(i - k)]) * 0x1p-31 - 1);
  }
}

uint64_t blocks_of(int64_t row) { return static_cast<uint64_t>((row + 3) / 4); }

}  // namespace

pack::ChangeWeights weight_noise(double fraction, uint64_t seed) {
  return [fraction, seed](const std::string& name, const Matrix<float>& steps, Matrix<float>& w) {
    if (fraction == 0) return;
    const CounterRng rng(seed + hash64(std::as_bytes(std::span(name))), 1);
    for (int64_t n = 0; n < w.rows; ++n) {
      const auto row = w.row(n);
      each_uniform(rng, static_cast<uint64_t>(n) * blocks_of(w.cols), w.cols,
                   [&](int64_t k, double u) {
                     float& value = row[static_cast<size_t>(k)];
                     value = static_cast<float>(static_cast<double>(value) +
                                                fraction * u * static_cast<double>(steps.at(n, k)));
                   });
    }
  };
}

Session::Disturber input_noise(double fraction, uint64_t seed, const Context& context) {
  return [fraction, seed, &context](int64_t input, std::span<const int64_t> positions, float* rows,
                                    int64_t width) {
    if (fraction == 0) return;
    const CounterRng rng(seed, 2, static_cast<uint32_t>(input));
    context.pool->split(std::ssize(positions), [&](int64_t begin, int64_t end) {
      std::vector<double> steps(static_cast<size_t>((width + kBlock - 1) / kBlock));
      for (int64_t r = begin; r < end; ++r) {
        float* x = rows + r * width;
        for (int64_t b = 0; b < std::ssize(steps); ++b) {
          float most = 0;
          for (int64_t k = b * kBlock; k < std::min(width, (b + 1) * kBlock); ++k)
            most = std::max(most, std::abs(x[k]));
          steps[static_cast<size_t>(b)] = static_cast<double>(most) / 127;
        }
        const auto first =
            static_cast<uint64_t>(positions[static_cast<size_t>(r)]) * blocks_of(width);
        each_uniform(rng, first, width, [&](int64_t k, double u) {
          x[k] = static_cast<float>(static_cast<double>(x[k]) +
                                    fraction * u * steps[static_cast<size_t>(k / kBlock)]);
        });
      }
    });
  };
}

}  // namespace halftone::runtime
