// Codes of closed blocks: how far they may lie from what they stand for, and what they take.
#include "halftone/runtime/closed_block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "halftone/base/half.h"
#include "halftone/base/rng.h"
#include "halftone/kernel/isa.h"
#include "halftone/runtime/kv_cache.h"

namespace halftone::runtime {
namespace {

struct Numbers {
  int64_t dim;
  std::vector<float> keys, values;  // [dim][256], [256][dim]
  Numbers(int64_t d, float offset) : dim(d) {
    const CounterRng rng(3);
    for (int64_t i = 0; i < dim * kKvBlock; ++i) {
      const auto at = static_cast<uint64_t>(i);
      // Channels of keys differ by far; so do tokens.
      const auto size = static_cast<float>(std::exp(rng.normal(100000 + at / kKvBlock)));
      keys.push_back(size * static_cast<float>(rng.normal(2 * at)) + offset);
      values.push_back(static_cast<float>(rng.normal(2 * at + 1)) + offset);
    }
  }
  std::vector<std::byte> closed(const ClosedBlock& form) const {
    std::vector<std::byte> out(static_cast<size_t>(form.bytes()), std::byte{0xa5});
    const kernel::Kernels& kernels = kernel::best_kernels();
    form.begin(out.data());
    for (int64_t d = 0; d < dim; ++d)
      form.put_keys(out.data(), d, keys.data() + d * kKvBlock, kernels);
    for (int64_t t = 0; t < kKvBlock; ++t)
      for (int64_t g = 0; g < form.value_groups(); ++g)
        form.put_values(out.data(), t, g, values.data() + t * dim + g * form.value_group(),
                        kernels);
    return out;
  }
};

// Half a step, where a step is the group's range over the number of steps, a little wider because
// scale and offset are rounded outwards to bf16: by 2^-7 of themselves at most.
double bound(const std::vector<float>& group, int bits) {
  const auto [low, high] = std::minmax_element(group.begin(), group.end());
  const double range = static_cast<double>(*high) - static_cast<double>(*low),
               moved = std::abs(static_cast<double>(*low)) * 0x1p-7;
  return (range + moved) * (1 + 0x1p-7) / (bits == 8 ? 254 : (1 << bits) - 1) / 2 * 1.00001 + 1e-6;
}

TEST(ClosedBlock, CodesLieWithinHalfAStep) {
  for (const int bits : {4, 8}) {
    for (const int64_t dim : {8, 24, 64, 80, 160}) {
      for (const float offset : {0.0f, 30.0f, -7.0f}) {
        const ClosedBlock form(dim, bits);
        const Numbers n(dim, offset);
        const auto data = n.closed(form);
        for (int64_t d = 0; d < dim; ++d) {
          for (int64_t t0 = 0; t0 < kKvBlock; t0 += form.key_group()) {
            const auto first = n.keys.begin() + d * kKvBlock + t0;
            const std::vector<float> group(first, first + form.key_group());
            const double most = bound(group, bits);
            const ClosedPart part = form.keys(data.data(), t0 / form.key_group());
            for (int64_t t = 0; t < form.key_group(); ++t)
              ASSERT_NEAR(number(part, t, d), group[static_cast<size_t>(t)], most)
                  << bits << " bits, dim " << d << " of " << dim << ", token " << t0 + t;
          }
        }
        for (int64_t t = 0; t < kKvBlock; ++t) {
          for (int64_t d0 = 0; d0 < dim; d0 += form.value_group()) {
            const int64_t count = std::min(form.value_group(), dim - d0);
            const auto first = n.values.begin() + t * dim + d0;
            const std::vector<float> group(first, first + count);
            const double most = bound(group, bits);
            const ClosedPart part = form.values(data.data(), d0 / form.value_group());
            for (int64_t d = 0; d < count; ++d)
              ASSERT_NEAR(number(part, d, t), group[static_cast<size_t>(d)], most)
                  << bits << " bits, token " << t << ", dim " << d0 + d << " of " << dim;
          }
        }
      }
    }
  }
}

// Four codes with steps of a standard deviation (the best for normal numbers) err by 0.119 of the
// variance, over their whole range of 5.6 by (5.6 / 3)^2 / 12 = 0.29. Keys are normal; those of a
// channel have a size, which errors share.
TEST(ClosedBlock, TwoBitsCutTheEndsOff) {
  const ClosedBlock form(64, 2);
  const Numbers n(64, 3);
  const auto data = n.closed(form);
  double error = 0, keys = 0, values = 0;
  for (int64_t d = 0; d < 64; ++d) {
    double mean = 0, square = 0;
    error = 0;
    for (int64_t t = 0; t < kKvBlock; ++t) {
      const auto x = static_cast<double>(n.keys[static_cast<size_t>(d * kKvBlock + t)]);
      const auto y = static_cast<double>(
          number(form.keys(data.data(), t / form.key_group()), t % form.key_group(), d));
      mean += x / kKvBlock;
      square += x * x / kKvBlock;
      error += (x - y) * (x - y) / kKvBlock;
      const auto v = static_cast<double>(n.values[static_cast<size_t>(t * 64 + d)]);
      values +=
          std::pow(v - static_cast<double>(number(form.values(data.data(), d / 32), d % 32, t)), 2);
    }
    keys += error / (square - mean * mean) / 64;
  }
  EXPECT_GT(keys, 0.09);
  EXPECT_LT(keys, 0.13);
  EXPECT_GT(values / (64 * kKvBlock), 0.09);
  EXPECT_LT(values / (64 * kKvBlock), 0.14);
}

TEST(ClosedBlock, EqualNumbersStayAndWhatIsNoNumberIsSeen) {
  for (const int bits : {2, 4, 8}) {
    const ClosedBlock form(64, bits);
    Numbers n(64, 0);
    const auto channel = [&](int64_t d) { return n.keys.begin() + d * kKvBlock; };
    std::fill(channel(1), channel(2), 0.0f);
    std::fill(channel(2), channel(3), -1.5f);  // bf16 holds it
    *(channel(3) + 17) = NAN;
    *(channel(4) + 250) = INFINITY;
    *(channel(5) + 250) = -INFINITY;
    std::fill(n.values.begin(), n.values.begin() + 64, 0.0f);
    n.values[64 + 3] = NAN;
    const auto data = n.closed(form);
    const int64_t last = form.key_groups() - 1;
    const ClosedPart keys = form.keys(data.data(), 0), end = form.keys(data.data(), last),
                     values = form.values(data.data(), 0);
    EXPECT_EQ(number(keys, 5, 1), 0.0f);
    EXPECT_EQ(number(keys, 5, 2), -1.5f);
    EXPECT_TRUE(std::isnan(number(keys, 5, 3)));
    EXPECT_TRUE(std::isnan(number(end, 5, 4)));
    EXPECT_TRUE(std::isnan(number(end, 5, 5)));
    EXPECT_TRUE(std::isfinite(number(keys, 5, 6)));
    EXPECT_EQ(number(values, 9, 0), 0.0f);
    EXPECT_TRUE(std::isnan(number(values, 9, 1)));
    EXPECT_TRUE(std::isfinite(number(values, 9, 2)));
  }
}

// Heads of 64: codes, 4 bytes of ones a token and 256 for each 16 dims, scales and offsets: in 2 bits
// for each 32 tokens of a dim, and 32 dims of a token.
TEST(ClosedBlock, TakesWhatItsBitsSay) {
  for (const int bits : {2, 4, 8}) {
    const int64_t codes = 2 * kKvBlock * 64 * bits / 8, ones = 16 * 64 + 4 * 64,
                  keys = (bits == 2 ? 8 : 1) * 64 * 4, values = (bits == 2 ? 2 : 1) * kKvBlock * 4;
    EXPECT_EQ(ClosedBlock(64, bits).bytes(), codes + ones + keys + values);
  }
}

constexpr KvFormat kInt4 = {KvType::i4, KvType::f16};

TEST(KvCache, TakesCodesForWhatIsBehindAndFloatsForTheRest) {
  const std::vector<KvShape> layers = {{3, 64}, {3, 64}};
  const auto open = static_cast<uint64_t>(2 * 2 * 3 * 64 * kKvBlock * 2),
             closed = static_cast<uint64_t>(2 * 3 * ClosedBlock(64, 4).bytes());
  KvCache cache(layers, kInt4, 256);
  const auto expect = [&](int64_t from, int64_t count, uint64_t opens, uint64_t closeds) {
    cache.reserve(from, count);
    EXPECT_EQ(cache.bytes(), opens * open + closeds * closed) << from << " " << count;
    cache.reserve(from, count);
    EXPECT_EQ(cache.bytes(), opens * open + closeds * closed) << from << " " << count;
    EXPECT_LE(cache.bytes(), cache.bytes_for(count));
  };
  EXPECT_EQ(cache.bytes(), 0u);
  expect(0, 255, 1, 0);
  expect(255, 256, 1, 1);
  expect(256, 257, 1, 1);
  expect(257, 513, 2, 2);
  expect(513, 514, 1, 2);
  expect(514, 520, 1, 2);
  expect(0, 10, 1, 0);
  EXPECT_EQ(cache.bytes_for(256), open + closed);
  EXPECT_EQ(cache.bytes_for(257), 2 * open + closed);
  EXPECT_EQ(cache.bytes_for(2048), 2 * open + 8 * closed);
  EXPECT_EQ(KvCache(layers, kInt4, 1).bytes_for(2048), open + 8 * closed);
  EXPECT_EQ(KvCache(layers, kInt4, 258).bytes_for(2048), 3 * open + 8 * closed);
  cache.release();
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(KvCache, GoesBackToWhatItHasInFloats) {
  KvCache cache({{2, 16}}, kInt4);
  cache.reserve(0, 250);
  EXPECT_EQ(cache.truncate(100), 100);
  cache.reserve(250, 300);  // one step over the end of a block: both are there in floats
  EXPECT_EQ(cache.truncate(299), 299);
  EXPECT_EQ(cache.truncate(256), 256);
  EXPECT_EQ(cache.truncate(255), 255);
  EXPECT_EQ(cache.truncate(1), 1);
  cache.reserve(300, 301);
  EXPECT_EQ(cache.truncate(257), 257);
  EXPECT_EQ(cache.truncate(256), 256);
  EXPECT_EQ(cache.truncate(255), 0);
  cache.reserve(301, 520);
  cache.reserve(520, 521);
  EXPECT_EQ(cache.truncate(511), 256);
  EXPECT_EQ(cache.truncate(0), 0);
  KvCache other({{2, 16}}, kInt4);
  EXPECT_EQ(other.share(cache, 400), 256);
  EXPECT_EQ(other.share(cache, 515), 515);
  EXPECT_EQ(other.closed_keys(0, 0, 1, 0).codes.data, cache.closed_keys(0, 0, 1, 0).codes.data);
  EXPECT_NE(other.keys(0, 0, 2, 3).data, cache.keys(0, 0, 2, 3).data);
  other.reserve(515, 516);
  EXPECT_EQ(other.bytes(), cache.bytes());
  // Goes on elsewhere from the middle of what is shared: that block is its own then.
  EXPECT_EQ(other.truncate(300), 256);
  other.reserve(256, 512);
  EXPECT_EQ(other.closed_keys(0, 0, 0, 0).codes.data, cache.closed_keys(0, 0, 0, 0).codes.data);
  EXPECT_NE(other.closed_keys(0, 0, 1, 0).codes.data, cache.closed_keys(0, 0, 1, 0).codes.data);
}

}  // namespace
}  // namespace halftone::runtime
