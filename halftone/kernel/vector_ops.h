// The operations around the matrix products: norms, the step of an online softmax, activations,
// rotary positions, sums.
//
// Reached through the table of an instruction set: `kernels.vector->rms_norm(x, weight, eps, n,
// y)`. All are pure, noexcept and safe from many threads; y may be x (same address) for elementwise
// ones and norms. The same bits on every instruction set: every one computes 16 lanes, element i in
// lane i % 16, lanes summed as a tree (i + 8, i + 4, i + 2, i + 1).
//
//   rms_norm       y = weight * (x / sqrt(mean(x^2) + eps))  Zhang, Sennrich 2019, arXiv:1910.07467
//   layer_norm     y = weight * (x - mean) / sqrt(var + eps) + bias; var over n; bias may be null
//   exp_sum        y = exp(scale * x - max), returns the sum: the step of an online softmax;
//                  `max` is of scale * x
//   max            the largest x; -infinity for n = 0
//   silu           y = x / (1 + exp(-x))
//   gelu_erf       y = x * Phi(x)
//   gelu_tanh      y = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
//   tanh           y = tanh(x)
//   rope_half      one head: y[i], y[i + half] =
//                  x[i] c[i] - x[i + half] s[i], x[i + half] c[i] + x[i] s[i]
//   add, multiply  y = a + b, a * b
//   scale          y = a * x
//   axpy           y = fma(a, x, y)
//   mix            y = fma(a, x, b * y)
//   to_f16         round half to even; overflow gives infinity
//   to_bf16        a * x, rounded half to even; below 2^-56 it gives 0 (Bf16Matmul in kernels.h),
//                  overflow infinity
//   An online softmax over `rows` rows of base-2 scores, piece by piece; n is a multiple of 32,
//   lanes [rows][16] f32:
//   rows_above     bit r: row r (of at most 64) has an element above limit[r]
//   lane_max       lanes = max(lanes, x), element i in lane i % 16
//   exp2_bf16      y = 2^(x - max[row]) in bf16, 0 below 2^-56; lanes += what was written
//   lanes_largest  the largest lane of each row
//   lanes_sum      the sum of each row's lanes
//
// Accuracy against exact math: exp within 2 ulp for -87 <= x <= 88 (0 below), Phi within 4e-7
// relative, exp2_bf16 within 1.1e-4 relative and then a rounding to bf16, sums within n/16 + 5
// roundings. Elements that a model must not see (padding, causal
// mask) are not passed in; x = -infinity in exp_sum gives 0.
#pragma once

#include "halftone/kernel/kernels.h"
