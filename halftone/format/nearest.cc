#include <algorithm>
#include <atomic>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/format/format.h"

namespace halftone::format {

void quantize_run(std::span<const double> w, const Grid& grid, uint8_t* codes) {
  const double scale = static_cast<double>(grid.scale), zero = grid.zero, low = -zero,
               high = grid.max_code - zero;
  const double* from = w.data();
  const size_t size = w.size();
  for (size_t i = 0; i < size; ++i) {
    double x = from[i] / scale;
    x = x > low ? x : low;
    x = x < high ? x : high;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(round_half_even(x) + zero));
  }
}

Codes quantize_runs(const Matrix<float>& w, const Format& format, const FitRun& fit,
                    ThreadPool* pool, int64_t* clamped_scales) {
  Codes out = Codes::empty(format, w.rows, w.cols);
  std::atomic<int64_t> clamped{0};
  const auto finish = [&] {
    if (clamped_scales != nullptr) *clamped_scales = clamped.load();
    return std::move(out);
  };
  if (w.rows == 0 || w.cols == 0) return finish();
  Grid shared;
  if (format.granularity == Granularity::tensor) {
    shared = fit(std::vector<double>(w.data.begin(), w.data.end()), 0);
    clamped += shared.clamped;
    out.set_grid(0, 0, shared);
  }
  const auto rows = [&](int64_t begin, int64_t end) {
    std::vector<double> row(static_cast<size_t>(w.cols));
    int64_t bad = 0;
    for (int64_t n = begin; n < end; ++n) {
      const auto from = w.row(n);
      std::copy(from.begin(), from.end(), row.begin());
      const int64_t width = format.granularity == Granularity::group ? format.group : w.cols;
      for (int64_t k = 0, g = 0; k < w.cols; k += width, ++g) {
        const auto run = std::span<const double>(row).subspan(
            static_cast<size_t>(k), static_cast<size_t>(std::min(width, w.cols - k)));
        Grid grid = shared;
        if (format.granularity != Granularity::tensor) {
          grid = fit(run, n * w.cols + k);
          bad += grid.clamped;
          out.set_grid(n, g, grid);
        }
        quantize_run(run, grid, out.codes.data() + n * w.cols + k);
      }
    }
    clamped += bad;
  };
  if (pool != nullptr)
    pool->split(w.rows, rows);
  else
    rows(0, w.rows);
  return finish();
}

Codes quantize_nearest(const Matrix<float>& w, const Format& format, ThreadPool* pool,
                       int64_t* clamped_scales) {
  const Kind& kind = kind_of(format);
  const auto fit = [&](std::span<const double> run, int64_t) { return kind.fit(run, format); };
  return quantize_runs(w, format, fit, pool, clamped_scales);
}

}  // namespace halftone::format
