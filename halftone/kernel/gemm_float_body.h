// gemm_float where one tile at a time fills the registers (AVX2, NEON). Included in the anonymous
// namespace after gemm_body.h, with widen(w, base, k0, k1, room) and panel(job, base, weights, m,
// u0, u1, out) defined.

inline void product(const FloatMatmul& job) {
  alignas(64) float room[kBlockCols * kTileRows];
  const float* weights = nullptr;
  by_blocks(
      job,
      [&](const uint8_t* base, int64_t k0, int64_t k1) {
        weights = widen(job.w, base, k0, k1, room);
      },
      [&](const uint8_t* base, int64_t m, int64_t u0, int64_t u1, Panel& out) {
        panel(job, base, weights, m, u0, u1, out);
      });
}
