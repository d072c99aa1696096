#include <algorithm>
#include <cmath>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/linalg/blas.h"
#include "halftone/linalg/linalg.h"

namespace halftone::linalg {
namespace {

constexpr int64_t kTokens = 2048;  // summed in f32: the relative error of a sum of 2048 products
                                   // stays near 2048 * 2^-24 at worst
constexpr int64_t kTile = 256;     // columns; 256 x 2048 panels keep the kernels at 80 % of peak

float absolute_maximum(std::span<const float> x) {
  float lanes[16] = {};
  size_t i = 0;
  for (; i + 16 <= x.size(); i += 16)
    for (size_t l = 0; l < 16; ++l) {
      const float a = std::fabs(x[i + l]);
      lanes[l] = lanes[l] < a ? a : lanes[l];
    }
  for (; i < x.size(); ++i) lanes[0] = std::max(lanes[0], std::fabs(x[i]));
  return *std::max_element(lanes, lanes + 16);
}

// The power of two that brings a block into the range where f32 squares neither overflow nor
// vanish; 0 for ordinary blocks.
int scale_exponent(float maximum) {
  if (maximum == 0 || !std::isfinite(maximum) || (maximum > 1e-12f && maximum < 1e15f)) return 0;
  return -std::ilogb(maximum);
}

struct Block {
  const float* x;
  int64_t tokens;
  double weight;
};

void add_tile(std::span<const Block> blocks, int64_t k, int64_t row, int64_t col,
              Matrix<double>& h) {
  thread_local std::vector<float> sum;
  sum.resize(static_cast<size_t>(kTile * kTile));
  const int64_t rows = std::min(kTile, k - row), cols = std::min(kTile, k - col);
  for (const Block& block : blocks) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, dim(rows), dim(cols), dim(block.tokens),
                1.0f, block.x + row, dim(k), block.x + col, dim(k), 0.0f, sum.data(), dim(kTile));
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = sum.data() + r * kTile;
      double* to = h.data.data() + (row + r) * k + col;
      for (int64_t c = row == col ? r : 0; c < cols; ++c)
        to[c] += block.weight * static_cast<double>(from[c]);
    }
  }
  // The mirror image.
  for (int64_t c = 0; c < cols; ++c) {
    double* to = h.data.data() + (col + c) * k + row;
    const double* from = h.data.data() + row * k + col + c;
    const int64_t end = row == col ? c : rows;
    for (int64_t r = 0; r < end; ++r) to[r] = from[r * k];
  }
}

}  // namespace

void add_gram(std::span<const float> x, int64_t tokens, int64_t k, double weight, Matrix<double>& h,
              ThreadPool& pool) {
  check(static_cast<int64_t>(x.size()) == tokens * k, "add_gram: x is not [tokens, k]");
  check(h.rows == k && h.cols == k, "add_gram: h is not [k, k]");
  if (tokens == 0 || k == 0) return;
  use_one_thread();
  const int64_t count = (tokens + kTokens - 1) / kTokens;
  std::vector<Block> blocks(static_cast<size_t>(count));
  std::vector<std::vector<float>> scaled(static_cast<size_t>(count));
  pool.each(count, [&](int64_t i) {
    const int64_t begin = i * kTokens, size = std::min(kTokens, tokens - begin);
    const auto part = x.subspan(static_cast<size_t>(begin * k), static_cast<size_t>(size * k));
    Block& block = blocks[static_cast<size_t>(i)];
    block = {part.data(), size, weight};
    const int exponent = scale_exponent(absolute_maximum(part));
    if (exponent == 0) return;
    auto& copy = scaled[static_cast<size_t>(i)];
    copy.resize(part.size());
    for (size_t j = 0; j < part.size(); ++j) copy[j] = std::ldexp(part[j], exponent);
    block = {copy.data(), size, std::ldexp(weight, -2 * exponent)};
  });
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (int64_t row = 0; row < k; row += kTile)
    for (int64_t col = row; col < k; col += kTile) tiles.emplace_back(row, col);
  pool.each(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const auto [row, col] = tiles[static_cast<size_t>(i)];
    add_tile(blocks, k, row, col, h);
  });
}

}  // namespace halftone::linalg
