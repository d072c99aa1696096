// Dense linear algebra of calibration and rounding: Hessian accumulation, the factor that GPTQ and
// LDLQ need, and its inverse.
//
// Threads and determinism: every BLAS call runs on one thread over a tile whose shape depends on
// the problem only; tiles are spread over our pool. So the same bytes come out at any thread count,
// as long as the CPU kernels are the same (`numeric_path`). OpenBLAS's own threads are switched off
// for the whole process by the first call of any function here.
//
// Matrices are row-major. "Upper" is the triangle with column >= row.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "halftone/base/tensor.h"
#include "halftone/base/threads.h"

namespace halftone::linalg {

// h += weight * sum over tokens of x x^T.
//   x  f32 [tokens, k]     h  f64 [k, k], both triangles filled, exactly symmetric
// Sums at most 2048 tokens in f32, those sums in f64. Values beyond what f32 can square (1e-30,
// 1e+30) are scaled by a power of two first. GPTQ's Hessian is 2 / sequences times this with weight
// 1: keep the factor for the end, or pass it as the weight. Costs tokens * k^2 multiply-adds. NaN
// and infinity pass into h, where the rounder finds them.
void add_gram(std::span<const float> x, int64_t tokens, int64_t k, double weight, Matrix<double>& h,
              ThreadPool& pool);

// A = R R^T with R upper triangular: Cholesky from the last column to the first. Reads and
// overwrites the upper triangle of `a` (diagonal included); the strict lower triangle is left as it
// is, so a caller can keep A there and put it back. Returns -1, or the row whose pivot is not
// positive (the upper triangle is then half done). n^3/3 flops.
//
// Why this factor: the upper Cholesky factor U of inverse(A), which GPTQ is written with
// (inverse(A) = U^T U), is inverse(R); and LDLQ's A = (R'+I) D (R'+I)^T is R with its columns
// divided by the diagonal. No inverse of A is ever formed.
int64_t factor_upper(Matrix<double>& a, ThreadPool& pool);

// R upper triangular -> inverse(R), in place; the strict lower triangle is neither read nor
// written. n^3/3 flops.
void invert_upper(Matrix<double>& r, ThreadPool& pool);

// Copies the strict lower triangle into the upper one.
void mirror_lower(Matrix<double>& a, ThreadPool& pool);
// Rows and columns of a symmetric matrix into a new order, in place: new(i, j) = old(order[i],
// order[j]).
void permute_symmetric(Matrix<double>& a, std::span<const int32_t> order, ThreadPool& pool);

// One-thread building blocks for callers that split the work themselves (c [m, n], inner dimension
// k, leading dimensions ld*). c = alpha * op(a) * op(b) + beta * c
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
          const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
          int64_t ldc);
// b [n, m] <- inverse(op(r)) * b, with r [n, n] upper triangular.
void solve_upper(bool transpose, int64_t n, int64_t m, const double* r, int64_t ldr, double* b,
                 int64_t ldb);

// The library and the kernels it chose: "OpenBLAS 0.3.21 SkylakeX". Part of a run's fingerprint:
// across paths only tolerance is promised.
std::string numeric_path();
// f32 matrix product of n x n on one thread, best of three, in 10^9 operations a second: tells a
// tuned BLAS from the reference one (3).
double measure_sgemm_gflops(int64_t n = 1024);

}  // namespace halftone::linalg
