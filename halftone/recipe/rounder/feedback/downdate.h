// Explicit inverses for the oracle: plain loops, no library.
#pragma once

#include <cstdint>

#include "halftone/base/tensor.h"

namespace halftone::rounder {

// By Gauss-Jordan elimination without pivoting, which positive definite matrices do not need.
// O(n^3)
Matrix<double> invert_positive(Matrix<double> a);

// Takes column p out of inverse(H): what is left is the inverse of H without its row and column p.
// Rows and columns already taken out stay 0. O(n^2)
void remove_column(Matrix<double>& h_inverse, int64_t p);

}  // namespace halftone::rounder
