#include "halftone/kernel/matmul.h"

#include "halftone/base/error.h"
#include "halftone/base/threads.h"

namespace halftone::kernel {

bool fits(const Tiles& w, const ActivationPlan& plan) {
  if (w.cols != plan.cols || w.padded_cols != plan.padded_cols || plan.unit < 1) return false;
  if (w.store != Store::codes) return !plan.int8 && plan.unit == kMaxUnit;
  if (plan.pairs != (w.pairs != 0)) return false;
  if (plan.group != (w.sub_offset >= 0 ? w.group : 0)) return false;
  if (plan.int8 && plan.wide != wide_codes(w)) return false;
  return w.groups == 1 || w.group % plan.unit == 0;
}

void matmul(const Kernels& kernels, const TiledWeights& w, const Activations& x, float* y,
            int64_t ldy, int64_t tile_begin, int64_t tile_end) noexcept {
  if (tile_begin >= tile_end) return;
  const Tiles& t = w.view();
  const ActivationPlan& p = x.plan();
  const int64_t units = p.units(), units_per_group = t.groups == 1 ? units : t.group / p.unit;
  const bool rows = x.rows_per_panel() == 1;
  if (p.int8) {
    const IntMatmul job{.w = t,
                        .x = x.codes(),
                        .a = x.scales(),
                        .sums = x.sums(),
                        .m = x.rows(),
                        .unit = p.unit,
                        .units = units,
                        .units_per_group = units_per_group,
                        .depth = x.depth(),
                        .y = y,
                        .ldy = ldy,
                        .tile_begin = tile_begin,
                        .tile_end = tile_end};
    (p.pairs ? kernels.matmul_pairs : rows ? kernels.gemv_int : kernels.gemm_int)(job);
  } else {
    const FloatMatmul job{.w = t,
                          .x = x.values(),
                          .m = x.rows(),
                          .unit = p.unit,
                          .units = units,
                          .units_per_group = units_per_group,
                          .y = y,
                          .ldy = ldy,
                          .tile_begin = tile_begin,
                          .tile_end = tile_end};
    (rows ? kernels.gemv_float : kernels.gemm_float)(job);
  }
}

void matmul(const Kernels& kernels, const TiledWeights& w, const Activations& x, float* y,
            int64_t ldy, ThreadPool& pool) {
  check(fits(w.view(), x.plan()), "activations prepared for other weights");
  check(ldy >= w.rows() || x.rows() == 1, "the output's rows overlap");
  pool.split(w.tiles(),
             [&](int64_t begin, int64_t end) { matmul(kernels, w, x, y, ldy, begin, end); });
}

}  // namespace halftone::kernel
