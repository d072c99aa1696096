// Number formats: which values exist and who shares a scale. First slot of a recipe; one file per format in format/kind/.
//
// A Format is a value: {bits 4, group 64} with K = 576 gives codes [N, 576] and scales [N, 9]. A group that does not divide K
// leaves a short last group: K = 600 -> 10 groups, the last of 24 columns.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/entries.h"
#include "halftone/base/fields.h"
#include "halftone/base/json.h"
#include "halftone/base/tensor.h"

namespace halftone::format {

// Who shares one scale.
//   tensor: scales [1, 1]      row: scales [N, 1]      group: scales [N, ceil(K / group)]
enum class Granularity : uint8_t { tensor, row, group };

struct Format {
  std::string kind = "int";       // entry of format/kind/
  int64_t bits = 4;
  Granularity granularity = Granularity::group;
  int64_t group = 64;             // columns that share a scale; 0 unless granularity is group
  bool symmetric = true;
  // Which of the published min-max rules makes step and zero (int): "gptq", "awq", "absmax". See format/kind/int.cc.
  std::string grid = "gptq";
  bool clip_search = false;       // GPTQ's MSE search: 80 shrink steps, error exponent 2.4
  DType scale_dtype = DType::f16; // codes are chosen with the scale as it will be stored
  bool operator==(const Format&) const = default;

  int64_t groups(int64_t k) const { return granularity == Granularity::group ? (k + group - 1) / group : 1; }
  std::string label() const;      // "int4_g64", "int8", "int3_g128_asym"
};

Json to_json(const Format& format);
// InputError naming `subject`: unknown key, bits outside 2..8, group < 1 ...
Format format_from_json(const Json& json, const Format& defaults, const std::string& subject);

// True bits per weight of an [N, K] matrix: codes, scales, zeros, column permutation.
double bits_per_weight(const Format& format, int64_t n, int64_t k, bool scattered_groups = false);

// Quantized weights. Meaning: W[n, k] = scale[n, g] * (code[n, k] - zero[n, g]), g = column_group[k] or k / group.
struct Codes {
  Format format;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;         // [N, K], unsigned 0 .. 2^bits - 1
  std::vector<float> scales;          // [N, G] (tensor: one), each exactly representable in format.scale_dtype
  std::vector<uint8_t> zeros;         // [N, G]; empty when symmetric: the zero is 2^(bits-1)
  std::vector<int32_t> column_group;  // [K] when groups are scattered (act-order without static groups), else empty

  int64_t groups() const { return format.groups(cols); }
  int64_t group_of(int64_t k) const {
    if (!column_group.empty()) return column_group[static_cast<size_t>(k)];
    return format.granularity == Granularity::group ? k / format.group : 0;
  }
  float scale(int64_t n, int64_t g) const {
    return scales[format.granularity == Granularity::tensor ? 0 : static_cast<size_t>(n * groups() + g)];
  }
  int32_t zero(int64_t n, int64_t g) const {
    if (zeros.empty()) return 1 << (format.bits - 1);
    return zeros[format.granularity == Granularity::tensor ? 0 : static_cast<size_t>(n * groups() + g)];
  }
  void dequantize_row(int64_t n, std::span<float> out) const;
  Matrix<float> dequantize() const;
  bool operator==(const Codes&) const = default;
};

// One grid: how a real number becomes a code, for one row of one group. Made by a kind's `fit`.
struct Grid {
  float scale = 1;
  int32_t zero = 0, max_code = 15;
  // round half to even; the one rounding rule of the project (nearbyint).
  int32_t code(float w) const;
  float value(int32_t c) const { return scale * static_cast<float>(c - zero); }
};

// A kind of format. `fit` chooses the grid for one set of weights that share a scale.
struct Kind {
  std::string summary, paper;
  std::function<Grid(std::span<const float> w, const Format& format)> fit;
};
std::span<const Named<Kind>> entries();   // generated from format/kind/*.cc
const Kind& kind_of(const Format& format);

// Nearest rounding of a whole matrix: the scalar reference of every format.
Codes quantize_nearest(const Matrix<float>& w, const Format& format);

}  // namespace halftone::format
