// Attention against its definition, one score at a time in double; and its promise that grouping,
// threads and later tokens change no bit.
#include "halftone/runtime/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "halftone/base/half.h"
#include "halftone/base/rng.h"
#include "halftone/kernel/isa.h"
#include "halftone/spec/alibi.h"

namespace halftone::runtime {
namespace {

struct Problem {
  spec::Attention attention;
  int64_t tokens = 0;
  KvType kv = KvType::f32;
  KvType open = KvType::f32;     // where blocks of `kv` are closed
  std::vector<uint8_t> visible;  // empty: all
  std::vector<float> q, k, v;    // [T, heads * dim], [T, kv_heads * dim]

  Problem(const spec::Attention& a, int64_t t, uint64_t seed = 1) : attention(a), tokens(t) {
    const auto fill = [&](std::vector<float>& x, int64_t width, uint32_t stream) {
      const CounterRng rng(seed, stream);
      x.resize(static_cast<size_t>(tokens * width));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
    };
    fill(q, a.heads * a.head_dim, 0);
    fill(k, a.kv_heads * a.head_dim, 1);
    fill(v, a.kv_heads * a.head_dim, 2);
  }

  KvFormat format() const { return {kv, kv_bits(kv) > 0 ? open : kv}; }
  KvCache cache() const { return {{{attention.kv_heads, attention.head_dim}}, format()}; }

  // In pieces of the given sizes (the last repeats), on `threads` threads.
  std::vector<float> run(const std::vector<int64_t>& pieces, int64_t threads) const {
    KvCache kept = cache();
    return run(pieces, threads, kept);
  }
  std::vector<float> run(const std::vector<int64_t>& pieces, int64_t threads,
                         KvCache& cache) const {
    ThreadPool pool(threads);
    AttentionRunner runner(kernel::best_kernels(), pool);
    std::optional<RopeTable> rope;
    if (attention.rope) rope.emplace(*attention.rope);
    std::vector<float> qc = q, kc = k, vc = v, out(q.size());
    const int64_t wide = attention.heads * attention.head_dim,
                  narrow = attention.kv_heads * attention.head_dim;
    for (int64_t at = 0, i = 0; at < tokens; ++i) {
      const int64_t n = std::min(tokens - at, pieces[static_cast<size_t>(std::min<int64_t>(
                                                  i, static_cast<int64_t>(pieces.size()) - 1))]);
      cache.reserve(at, at + n);
      if (rope) rope->reserve(at + n);
      const AttentionCall call{.attention = &attention,
                               .rope = rope ? &*rope : nullptr,
                               .q = {qc.data() + at * wide, wide, 0, attention.head_dim},
                               .k = {kc.data() + at * narrow, narrow, 0, attention.head_dim},
                               .v = {vc.data() + at * narrow, narrow, 0, attention.head_dim},
                               .out = {out.data() + at * wide, wide, 0, attention.head_dim},
                               .position = at,
                               .tokens = n,
                               .layer = 0,
                               .key_visible = visible.empty() ? nullptr : visible.data(),
                               .cache = &cache};
      runner.run({&call, 1});
      at += n;
    }
    return out;
  }

  // `spread`, if asked for: per output the weights' average of |v - output|, which is what rounding
  // the weights can move. `closed`: holds the codes of all blocks but the last.
  std::vector<double> by_definition(std::vector<double>* spread = nullptr,
                                    const KvCache* closed = nullptr) const {
    const spec::Attention& a = attention;
    const int64_t dim = a.head_dim;
    const auto turned = [&](const std::vector<float>& x, int64_t heads, int64_t t, int64_t h) {
      std::vector<double> y(static_cast<size_t>(dim));
      for (int64_t d = 0; d < dim; ++d)
        y[static_cast<size_t>(d)] =
            static_cast<double>(x[static_cast<size_t>((t * heads + h) * dim + d)]);
      if (!a.rope) return y;
      const auto in = y;
      const int64_t half = a.rope->dims / 2;
      for (int64_t i = 0; i < half; ++i) {
        const auto lo = static_cast<size_t>(a.rope->interleaved ? 2 * i : i),
                   hi = static_cast<size_t>(a.rope->interleaved ? 2 * i + 1 : i + half);
        const double angle =
            static_cast<double>(t) * a.rope->inverse_frequency[static_cast<size_t>(i)];
        const double c = std::cos(angle) * a.rope->magnitude,
                     s = std::sin(angle) * a.rope->magnitude;
        y[lo] = in[lo] * c - in[hi] * s;
        y[hi] = in[hi] * c + in[lo] * s;
      }
      return y;
    };
    // What the cache makes of one token's key or value.
    const auto stored = [&](std::vector<double> x) {
      for (double& y : x) {
        if (format().open == KvType::f16)
          y = static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(y))));
        if (kv == KvType::bf16)
          y = static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(y))));
      }
      return x;
    };
    const auto slopes = spec::alibi_slopes(a.heads);
    std::vector<double> out(q.size());
    for (int64_t h = 0; h < a.heads; ++h) {
      const int64_t g = h / (a.heads / a.kv_heads);
      std::vector<std::vector<double>> keys, values, closed_keys, closed_values;
      for (int64_t j = 0; closed != nullptr && j < tokens / kKvBlock * kKvBlock; ++j) {
        const int64_t block = j / kKvBlock, t = j % kKvBlock;
        closed_keys.emplace_back();
        closed_values.emplace_back();
        for (int64_t d = 0; d < dim; ++d) {
          closed_keys.back().push_back(static_cast<double>(
              number(closed->closed_keys(0, g, block, t / closed->closed_form(0).key_group()),
                     t % closed->closed_form(0).key_group(), d)));
          closed_values.back().push_back(static_cast<double>(
              number(closed->closed_values(0, g, block, d / closed->closed_form(0).value_group()),
                     d % closed->closed_form(0).value_group(), t)));
        }
      }
      for (int64_t j = 0; j < tokens; ++j) {
        keys.push_back(stored(turned(k, a.kv_heads, j, g)));
        const float* value = v.data() + (j * a.kv_heads + g) * dim;
        values.push_back(stored({value, value + dim}));
      }
      for (int64_t i = 0; i < tokens; ++i) {
        auto query = turned(q, a.heads, i, h);
        double scale = a.scale;
        if (kv ==
            KvType::bf16) {  // queries are rounded when they are scaled, to base 2 if they can
          const bool base2 = a.softcap == 0 && a.bias == spec::Attention::Bias::none;
          const float factor = static_cast<float>(a.scale) * (base2 ? 1.44269504088896341f : 1.0f);
          for (double& x : query)
            x = static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(x) * factor)));
          scale = base2 ? 0.6931471805599453 : 1;
        }
        std::vector<double> weights;
        double sum = 0;
        std::vector<double> o(static_cast<size_t>(dim));
        for (int64_t j = 0; j < tokens; ++j) {
          if ((a.causal && j > i) || (a.window > 0 && i - j >= a.window) ||
              (!visible.empty() && !visible[static_cast<size_t>(j)]))
            continue;
          const bool behind = closed != nullptr && j / kKvBlock < i / kKvBlock;
          const auto& key = (behind ? closed_keys : keys)[static_cast<size_t>(j)];
          const auto& value = (behind ? closed_values : values)[static_cast<size_t>(j)];
          double score = 0;
          for (size_t d = 0; d < static_cast<size_t>(dim); ++d) score += query[d] * key[d];
          score *= scale;
          if (a.softcap != 0) score = a.softcap * std::tanh(score / a.softcap);
          if (a.bias == spec::Attention::Bias::alibi)
            score += slopes[static_cast<size_t>(h)] * static_cast<double>(j - i);
          const double p = std::exp(score);
          sum += p;
          if (spread != nullptr) {
            weights.resize(static_cast<size_t>(tokens));
            weights[static_cast<size_t>(j)] = p;
          }
          for (int64_t d = 0; d < dim; ++d)
            o[static_cast<size_t>(d)] += p * value[static_cast<size_t>(d)];
        }
        for (int64_t d = 0; d < dim; ++d)
          out[static_cast<size_t>((i * a.heads + h) * dim + d)] =
              sum > 0 ? o[static_cast<size_t>(d)] / sum : 0.0;
        if (spread == nullptr) continue;
        spread->resize(out.size());
        for (int64_t d = 0; d < dim && sum > 0; ++d) {
          const auto at = static_cast<size_t>((i * a.heads + h) * dim + d);
          for (size_t j = 0; j < weights.size(); ++j)
            (*spread)[at] +=
                weights[j] / sum * std::abs(values[j][static_cast<size_t>(d)] - out[at]);
        }
      }
    }
    return out;
  }
};

spec::Attention shape(int64_t heads, int64_t kv_heads, int64_t dim) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = dim,
          .scale = 1 / std::sqrt(static_cast<double>(dim))};
}

spec::Rope rope_of(int64_t dims, bool interleaved = false) {
  spec::Rope r{.dims = dims, .inverse_frequency = {}, .interleaved = interleaved, .magnitude = 1.0};
  for (int64_t i = 0; i < dims / 2; ++i)
    r.inverse_frequency.push_back(
        std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
  return r;
}

// Scores of size s = up to 5 carry 64 products' roundings (dim <= 64): |ds| <= 8 eps x 5, which
// moves exp(s) by as much; sums over T positives keep relative errors; outputs are averages of |v|
// <= 4.5. In all 30 eps x 4.5 = 8e-6, taken twice.
constexpr double kTolerance = 1.6e-5;

void expect_by_definition(const Problem& p, const std::vector<int64_t>& pieces,
                          double tolerance = kTolerance) {
  const auto got = p.run(pieces, 2);
  const auto wanted = p.by_definition();
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - wanted[i]));
  EXPECT_LE(worst, tolerance);
}

TEST(Attention, FollowsItsDefinitionOverManyBlocks) {
  Problem p(shape(6, 2, 64), 700);
  p.attention.rope = rope_of(64);
  expect_by_definition(p, {300, 1, 1, 200});
}

TEST(Attention, HeadSizesThatFillNoTile) {
  for (const int64_t dim : {8, 20, 40, 80})
    expect_by_definition(Problem(shape(4, 1, dim), 70), {33, 5, 1});
}

TEST(Attention, WindowsEndInTheMiddleOfBlocks) {
  for (const int64_t window : {1, 7, 256, 300}) {
    Problem p(shape(4, 2, 16), 600);
    p.attention.window = window;
    expect_by_definition(p, {100, 1});
  }
}

TEST(Attention, SoftcapAlibiPartialAndInterleavedRope) {
  Problem p(shape(6, 3, 32), 300);
  p.attention.bias = spec::Attention::Bias::alibi;
  p.attention.softcap = 3;
  p.attention.rope = rope_of(16, true);
  p.attention.rope->magnitude = 1.25;
  expect_by_definition(p, {90, 1});
}

TEST(Attention, BidirectionalWithPaddingAnywhere) {
  Problem p(shape(4, 4, 16), 310);
  p.attention.causal = false;
  p.visible.assign(310, 1);
  for (size_t j = 0; j < 310; ++j)
    p.visible[j] = j < 3 || (j > 40 && j < 290);  // the second block keeps 34 keys
  expect_by_definition(p, {310});
  std::fill(p.visible.begin(), p.visible.end(), uint8_t{0});
  for (const float v : p.run({310}, 1)) ASSERT_EQ(v, 0.0f);  // nothing to see: zeros, not NaN
}

TEST(Attention, KeysAndValuesInHalfPrecision) {
  // f16 rounds the rotated keys of the definition too; both sides round near-ties apart now and
  // then, by 2^-11 of one key element
  Problem p(shape(6, 2, 64), 400);
  p.kv = KvType::f16;
  p.attention.rope = rope_of(64);
  expect_by_definition(p, {128}, 2e-4);
  Problem unrotated(shape(6, 2, 64), 400);
  unrotated.kv = KvType::f16;
  expect_by_definition(unrotated, {128});
}

// Whatever the codes are: what they stand for, in double. Sums over a block are now those of codes
// and of what offsets give; both are at most as large as the values are, twice over.
TEST(Attention, ClosedBlocksFollowTheDefinitionOfWhatTheirCodesStandFor) {
  const auto expect = [](const Problem& p, const std::vector<int64_t>& pieces) {
    KvCache cache = p.cache();
    const auto got = p.run(pieces, 2, cache);
    const auto wanted = p.by_definition(nullptr, &cache);
    double worst = 0;
    for (size_t i = 0; i < got.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(got[i]) - wanted[i]));
    EXPECT_LE(worst, 3 * kTolerance) << kv_type_name(p.kv) << ", dim " << p.attention.head_dim;
  };
  for (const KvType kv : {KvType::i8, KvType::i4, KvType::i2}) {
    // Heads that fill lines of codes and groups, and heads that do not.
    for (const int64_t dim : {8, 64, 80}) {
      Problem p(shape(4, 2, dim), 560);
      p.kv = kv;
      p.open = dim == 64 ? KvType::f16 : KvType::f32;
      expect(p, {128, 100, 1, 1, 300});
      p.attention.window = dim < 64 ? 70 : 300;
      expect(p, {256, 1, 300});
    }
    Problem changed(shape(6, 3, 32), 600);
    changed.kv = kv;
    changed.attention.bias = spec::Attention::Bias::alibi;
    changed.attention.softcap = 3;
    expect(changed, {270, 1});
  }
}

// How far codes move the output from that of floats, as a share of it. Keys and values are normal: a
// step of b bits over the 256 tokens of a channel (their range is near 5.6) makes errors of
// 5.6 / (2^b - 1) / sqrt(12) of a key, over the 64 dims of a token (near 4.7) of a value.
TEST(Attention, ClosedBlocksErrAsTheirBitsSay) {
  const auto error_of = [](KvType kv) {
    Problem p(shape(6, 2, 64), 800);
    p.attention.rope = rope_of(64);
    const auto exact = p.run({800}, 2);
    p.kv = kv;
    const auto got = p.run({800}, 2);
    double error = 0, size = 0;
    for (size_t i = 512 * 6 * 64; i < got.size(); ++i) {
      error += std::pow(static_cast<double>(got[i]) - static_cast<double>(exact[i]), 2);
      size += std::pow(static_cast<double>(exact[i]), 2);
    }
    return std::sqrt(error / size);
  };
  const double eight = error_of(KvType::i8), four = error_of(KvType::i4),
               two = error_of(KvType::i2);
  EXPECT_GT(eight, 0.002);
  EXPECT_LT(eight, 0.02);
  EXPECT_GT(four / eight, 254.0 / 15 * 0.7);
  EXPECT_LT(four / eight, 254.0 / 15 * 1.4);
  EXPECT_GT(two / four, 2);
  EXPECT_LT(two / four, 5 * 1.4);
}

TEST(Attention, QueriesOfABlocksOwnTokensSeeFloats) {
  for (const KvType kv : {KvType::i8, KvType::i2}) {
    Problem p(shape(6, 2, 64), 512);
    const auto exact = p.run({512}, 2);
    p.kv = kv;
    const auto got = p.run({512}, 2);
    const auto middle = static_cast<std::ptrdiff_t>(256 * 6 * 64);
    EXPECT_TRUE(std::equal(exact.begin(), exact.begin() + middle, got.begin()));
    EXPECT_FALSE(std::equal(exact.begin() + middle, exact.end(), got.begin() + middle));
  }
}

// Weights are rounded to bf16, by 2^-8 of themselves at most and 1.1e-4 more in the exponential;
// both are in their sum, too, so that an output moves by that much of how far values lie from it.
void expect_bf16_by_definition(Problem p, const std::vector<int64_t>& pieces, double more = 0) {
  p.kv = KvType::bf16;
  const auto got = p.run(pieces, 2);
  std::vector<double> spread;
  const auto wanted = p.by_definition(&spread);
  double used = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double bound = (0x1p-8 + 1.1e-4) * 1.01 * spread[i] + kTolerance + more;
    used = std::max(used, std::abs(static_cast<double>(got[i]) - wanted[i]) / bound);
  }
  EXPECT_LE(used, 1);
}

TEST(Attention, InBf16) {
  for (const int64_t dim : {8, 20, 40, 64, 80}) {
    Problem p(shape(6, 2, dim), 400);
    expect_bf16_by_definition(p, {128, 100, 1});
    p.attention.window = 70;
    expect_bf16_by_definition(p, {300, 1});
  }
  expect_bf16_by_definition(Problem(shape(40, 1, 16), 70), {60, 1});  // more rows than tiles hold
  Problem changed(shape(6, 3, 32), 300);
  changed.attention.bias = spec::Attention::Bias::alibi;
  changed.attention.softcap = 3;
  expect_bf16_by_definition(changed, {90, 1});
  Problem padded(shape(4, 4, 16), 310);
  padded.attention.causal = false;
  padded.visible.assign(310, 1);
  for (size_t j = 0; j < 310; ++j) padded.visible[j] = j < 3 || (j > 40 && j < 290);
  expect_bf16_by_definition(padded, {310});
  padded.kv = KvType::bf16;
  std::fill(padded.visible.begin(), padded.visible.end(), uint8_t{0});
  for (const float v : padded.run({310}, 1)) ASSERT_EQ(v, 0.0f);
  // Of what is rotated a rounding now and then falls to the other side: 2^-8 of a key element or a
  // query element of up to 4.5, times the other of up to 4.5, over sqrt(dim), in one score.
  Problem rotated(shape(6, 2, 64), 700);
  rotated.attention.rope = rope_of(64);
  expect_bf16_by_definition(rotated, {300, 1, 1, 200}, 0x1p-8 * 4.5 * 4.5 / 8);
  rotated.attention.rope = rope_of(16, true);
  expect_bf16_by_definition(rotated, {300, 1}, 0x1p-8 * 4.5 * 4.5 / 8);
}

// Scores that rise by far within a block, more than once, so that m of a row has to follow them;
// also from so far below that nothing of the first is left.
TEST(Attention, ScoresInBf16MayRise) {
  for (const float steep : {0.05f, 0.5f, 3.0f}) {
    Problem p(shape(2, 1, 32), 400);
    for (size_t j = 0; j < 400; ++j)
      for (size_t d = 0; d < 32; ++d) p.k[j * 32 + d] = d == 0 ? steep * static_cast<float>(j) : 0;
    for (size_t i = 0; i < p.q.size(); i += 32) p.q[i] = 5;
    expect_bf16_by_definition(p, {400});
    p.kv = KvType::bf16;
    const auto whole = p.run({400}, 1);
    EXPECT_EQ(whole, p.run({1}, 2));
    EXPECT_EQ(whole, p.run({70, 13, 1, 100}, 2));
  }
}

TEST(Attention, NotANumberIsSeenInBf16) {
  Problem p(shape(2, 1, 32), 20);
  p.kv = KvType::bf16;
  p.q[64 * 10] = NAN;
  const auto out = p.run({20}, 1);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 32 == 20) << i;
}

TEST(Attention, WeightsInBf16SumToOne) {
  Problem p(shape(6, 2, 64), 500);
  p.kv = KvType::bf16;
  std::fill(p.v.begin(), p.v.end(), 1.0f);
  for (const float v : p.run({500}, 1)) ASSERT_NEAR(v, 1.0f, 1e-6);  // sums in two orders
}

// What tokens left behind that a sequence has forgotten is no factor of a product, whatever it is.
TEST(Attention, ForgottenTokensLeaveNothingInABf16Cache) {
  const Problem p(shape(6, 2, 20), 300);
  ThreadPool pool(1);
  AttentionRunner runner(kernel::best_kernels(), pool);
  for (const int64_t kept : {1, 2, 7, 31, 32, 33, 255, 256, 257}) {
    KvCache cache({{2, 20}}, {KvType::bf16, KvType::bf16});
    const auto run = [&](int64_t at, int64_t n, bool broken) {
      cache.reserve(at, at + n);
      std::vector<float> q = p.q, k = p.k, v = p.v, out(p.q.size());
      if (broken) std::fill(k.begin() + 40 * kept, k.end(), NAN);
      if (broken) std::fill(v.begin() + 40 * kept, v.end(), INFINITY);
      const AttentionCall call{.attention = &p.attention,
                               .q = {q.data() + at * 120, 120, 0, 20},
                               .k = {k.data() + at * 40, 40, 0, 20},
                               .v = {v.data() + at * 40, 40, 0, 20},
                               .out = {out.data(), 120, 0, 20},
                               .position = at,
                               .tokens = n,
                               .cache = &cache};
      runner.run({&call, 1});
      out.resize(static_cast<size_t>(n * 120));
      return out;
    };
    run(0, 300, true);
    const auto one = run(kept, 1, false), more = run(kept + 1, 10, false);
    cache.release();
    run(0, kept, false);
    EXPECT_EQ(one, run(kept, 1, false)) << kept;
    EXPECT_EQ(more, run(kept + 1, 10, false)) << kept;
  }
}

TEST(Attention, PiecesThreadsAndLaterTokensChangeNoBit) {
  for (const KvType kv :
       {KvType::f32, KvType::f16, KvType::bf16, KvType::i8, KvType::i4, KvType::i2}) {
    Problem p(shape(6, 2, 64), 800);
    p.kv = kv;
    p.attention.rope = rope_of(64);
    const auto whole = p.run({800}, 1);
    EXPECT_EQ(whole, p.run({1}, 3));
    EXPECT_EQ(whole, p.run({256, 13, 1, 1, 400}, 2));
    EXPECT_EQ(whole, p.run({250, 5, 1, 1, 255, 1}, 2));
    Problem shorter(p.attention, 500);  // the same first 500 tokens
    shorter.kv = kv;
    const auto part = shorter.run({500}, 2);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
  }
}

TEST(Attention, InBf16PiecesChangeNoBitOfAnyKindOfAttention) {
  std::vector<Problem> all;
  all.emplace_back(shape(40, 1, 24), 300);
  all.emplace_back(shape(4, 2, 16), 600).attention.window = 75;
  all.emplace_back(shape(4, 2, 16), 600).attention.window = 300;
  all.emplace_back(shape(3, 3, 40), 300).attention.softcap = 3;
  all.back().attention.bias = spec::Attention::Bias::alibi;
  for (Problem& p : all) {
    p.kv = KvType::bf16;
    const auto whole = p.run({p.tokens}, 1);
    EXPECT_EQ(whole, p.run({1}, 3));
    EXPECT_EQ(whole, p.run({100, 13, 1, 1, 70}, 2));
  }
}

TEST(KvCache, GrowsByBlocksOf256Tokens) {
  KvCache cache({{3, 64}, {3, 64}}, {KvType::f16, KvType::f16});
  EXPECT_EQ(cache.bytes(), 0u);
  cache.reserve(0, 1);
  EXPECT_EQ(cache.bytes(),
            2u * 2 * 3 * 64 * 256 * 2);  // layers, keys and values, heads, dim, tokens, bytes
  cache.reserve(0, 256);
  EXPECT_EQ(cache.bytes(), 2u * 2 * 3 * 64 * 256 * 2);
  cache.reserve(0, 257);
  EXPECT_EQ(cache.bytes(), 2u * 2 * 2 * 3 * 64 * 256 * 2);
}

TEST(KvCache, SharesWholeBlocksUntilOneIsWrittenTo) {
  const std::vector<KvShape> layers = {{2, 16}};
  KvCache a(layers, {}), b(layers, {});
  a.reserve(0, 600);
  const auto first = [](const KvCache& cache, int64_t block) {
    return cache.keys(0, 0, block, 256).data;
  };
  b.share(a, 520);
  EXPECT_EQ(b.bytes(), a.bytes());
  EXPECT_EQ(first(b, 0), first(a, 0));
  EXPECT_EQ(first(b, 1), first(a, 1));
  EXPECT_NE(first(b, 2), first(a, 2));  // its last tokens are the writer's own
  b.reserve(520, 530);
  EXPECT_EQ(first(b, 1), first(a, 1));
  b.reserve(300, 310);  // after a truncation
  EXPECT_EQ(first(b, 0), first(a, 0));
  EXPECT_NE(first(b, 1), first(a, 1));
  b.share(a, 512);
  EXPECT_EQ(b.bytes(), 2 * a.bytes() / 3);
  EXPECT_EQ(first(b, 1), first(a, 1));
}

}  // namespace
}  // namespace halftone::runtime
