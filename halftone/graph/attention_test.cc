#include "halftone/graph/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "halftone/base/rng.h"
#include "halftone/spec/alibi.h"

namespace halftone::graph {
namespace {

at::Tensor random_tensor(const std::vector<int64_t>& shape, uint64_t seed) {
  at::Tensor t = at::zeros(shape, c10::kDouble);
  const CounterRng rng(seed);
  double* data = t.data_ptr<double>();
  for (int64_t i = 0; i < t.numel(); ++i) data[i] = rng.normal(static_cast<uint64_t>(i));
  return t;
}

// The definition, one score at a time, in f64. q, k, v are rotated by it as well.
at::Tensor by_definition(const spec::Attention& a, const at::Tensor& q, const at::Tensor& k,
                         const at::Tensor& v, const Sequence& s) {
  const int64_t B = q.size(0), T = q.size(1), D = a.head_dim;
  const auto turned = [&](const at::Tensor& x, int64_t b, int64_t t, int64_t h) {
    std::vector<double> y(static_cast<size_t>(D));
    const at::Tensor row = x[b][t][h].contiguous();
    for (int64_t d = 0; d < D; ++d) y[static_cast<size_t>(d)] = row.data_ptr<double>()[d];
    if (!a.rope) return y;
    const auto in = y;
    const int64_t half = a.rope->dims / 2;
    const at::Tensor positions = s.positions().expand({B, T});
    const double position = static_cast<double>(positions[b][t].item<int64_t>());
    for (int64_t i = 0; i < half; ++i) {
      const auto lo = static_cast<size_t>(a.rope->interleaved ? 2 * i : i),
                 hi = static_cast<size_t>(a.rope->interleaved ? 2 * i + 1 : i + half);
      const double angle = position * a.rope->inverse_frequency[static_cast<size_t>(i)];
      const double c = std::cos(angle) * a.rope->magnitude, n = std::sin(angle) * a.rope->magnitude;
      y[lo] = in[lo] * c - in[hi] * n;
      y[hi] = in[hi] * c + in[lo] * n;
    }
    return y;
  };
  const auto slopes = spec::alibi_slopes(a.heads);
  at::Tensor out = at::zeros({B, T, a.heads * D}, c10::kDouble);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t i = 0; i < T; ++i) {
        const int64_t group = h / (a.heads / a.kv_heads);
        const auto query = turned(q, b, i, h);
        std::vector<double> weight(static_cast<size_t>(T), 0.0);
        double sum = 0;
        for (int64_t j = 0; j < T; ++j) {
          if (a.causal && j > i) continue;
          if (a.window > 0 && i - j >= a.window) continue;
          if (s.present().defined() && !s.present()[b][j].item<bool>()) continue;
          const auto key = turned(k, b, j, group);
          double score = 0;
          for (size_t d = 0; d < key.size(); ++d) score += query[d] * key[d];
          score *= a.scale;
          if (a.softcap > 0) score = a.softcap * std::tanh(score / a.softcap);
          if (a.bias == spec::Attention::Bias::alibi)
            score += slopes[static_cast<size_t>(h)] * static_cast<double>(j - i);
          sum += weight[static_cast<size_t>(j)] = std::exp(score);
        }
        for (int64_t j = 0; j < T && sum > 0; ++j)
          out[b][i]
              .slice(0, h * D, (h + 1) * D)
              .add_(v[b][j][group], weight[static_cast<size_t>(j)] / sum);
      }
  return out;
}

struct Case {
  std::string name;
  spec::Attention attention;
  int64_t tokens = 11;
  bool padded = false;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

spec::Attention basic(int64_t heads, int64_t kv_heads, int64_t dim) {
  return {.heads = heads, .kv_heads = kv_heads, .head_dim = dim, .scale = 0.5};
}

std::vector<Case> cases() {
  std::vector<Case> list = {{"causal", basic(4, 4, 6)},
                            {"grouped", basic(6, 2, 4)},
                            {"one_kv_head", basic(5, 1, 4)},
                            {"one_token", basic(2, 1, 4), 1}};
  list.push_back({"bidirectional", basic(4, 2, 4)});
  list.back().attention.causal = false;
  list.push_back({"bidirectional_padded", list.back().attention, 11, true});
  list.push_back({"causal_padded", basic(4, 2, 4), 11, true});
  list.push_back({"window", basic(4, 2, 4)});
  list.back().attention.window = 3;
  list.push_back({"window_of_one", list.back().attention});
  list.back().attention.window = 1;
  list.push_back({"softcap", basic(4, 2, 4)});
  list.back().attention.softcap = 0.7;
  list.push_back({"alibi", basic(6, 2, 4)});
  list.back().attention.bias = spec::Attention::Bias::alibi;
  list.push_back({"alibi_window_padded", list.back().attention, 11, true});
  list.back().attention.window = 4;
  list.push_back({"rope_half", basic(4, 2, 6)});
  list.back().attention.rope = spec::Rope{.dims = 6, .inverse_frequency = {1, 0.3, 0.07}};
  list.push_back({"rope_partial_scaled", basic(4, 2, 8)});
  list.back().attention.rope =
      spec::Rope{.dims = 4, .inverse_frequency = {1, 0.3}, .magnitude = 1.2};
  list.push_back({"rope_interleaved_partial", basic(4, 2, 8)});
  list.back().attention.rope =
      spec::Rope{.dims = 4, .inverse_frequency = {1, 0.3}, .interleaved = true};
  // Longer than one tile: 16 rows is the smallest, and 2^18 / (16 x 1100) is 14.
  list.push_back({"several_tiles", basic(16, 1, 2), 1100});
  list.push_back({"several_tiles_window", basic(16, 1, 2), 600});
  list.back().attention.window = 37;
  return list;
}

class Attention : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto& [name, a, T, padded] = GetParam();
    Batch batch;
    batch.ids = at::zeros({2, T}, c10::kLong);
    if (padded) {
      batch.attention_mask = at::zeros({2, T}, c10::kLong);
      batch.attention_mask[0].slice(0, 0, T - 2).fill_(1);
      batch.attention_mask[1].slice(0, 3).fill_(1);  // padded on the left
      batch.positions = (batch.attention_mask.cumsum(1) - 1).clamp_min(0);
    }
    sequence_ = std::make_unique<Sequence>(batch);
    q_ = random_tensor({2, T, a.heads, a.head_dim}, 1);
    k_ = random_tensor({2, T, a.kv_heads, a.head_dim}, 2);
    v_ = random_tensor({2, T, a.kv_heads, a.head_dim}, 3);
  }
  // Rows of padded queries may hold anything finite.
  at::Tensor real(const at::Tensor& y) const {
    EXPECT_TRUE(y.isfinite().all().item<bool>());
    return sequence_->present().defined() ? y * sequence_->present().unsqueeze(-1) : y;
  }
  std::unique_ptr<Sequence> sequence_;
  at::Tensor q_, k_, v_;
};

// Sums of at most 1100 products of size 1 in f64: 1100 x 1e-16 x a few.
constexpr double kTolerance = 1e-12;

class ShortAttention : public Attention {};

TEST_P(ShortAttention, TiledEqualsTheDefinition) {
  const at::NoGradGuard no_grad;
  const auto& a = GetParam().attention;
  const at::Tensor got = attend(a, q_, k_, v_, *sequence_),
                   want = by_definition(a, q_, k_, v_, *sequence_);
  EXPECT_LE((real(got) - real(want)).abs().max().item<double>(), kTolerance);
}

TEST_P(Attention, TiledEqualsDense) {
  const auto& a = GetParam().attention;
  const at::Tensor leaf = q_.clone().set_requires_grad(true);
  const at::Tensor dense = attend(a, leaf, k_, v_, *sequence_);
  EXPECT_TRUE(dense.requires_grad());
  const at::NoGradGuard no_grad;
  const at::Tensor tiled = attend(a, q_, k_, v_, *sequence_);
  EXPECT_LE((real(dense.detach()) - real(tiled)).abs().max().item<double>(), kTolerance);
}

std::string name_of(const ::testing::TestParamInfo<Case>& test) { return test.param.name; }

// The definition takes minutes at the lengths that need several tiles.
std::vector<Case> short_cases() {
  auto list = cases();
  std::erase_if(list, [](const Case& c) { return c.tokens > 100; });
  return list;
}
INSTANTIATE_TEST_SUITE_P(Kinds, Attention, ::testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Kinds, ShortAttention, ::testing::ValuesIn(short_cases()), name_of);

}  // namespace
}  // namespace halftone::graph
