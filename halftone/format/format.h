// Number formats: which values exist and who shares a scale. First slot of a recipe; one file per
// format in format/kind/.
//
// A Format is a value: {bits 4, group 64} with K = 576 gives codes [N, 576] and scales [N, 9]. A
// group that does not divide K leaves a short last group: K = 600 -> 10 groups, the last of 24
// columns.
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
#include "halftone/base/threads.h"

namespace halftone::format {

// Who shares one scale.
//   tensor: scales [1, 1]      row: scales [N, 1]      group: scales [N, ceil(K / group)]
enum class Granularity : uint8_t { tensor, row, group };

struct Format {
  std::string kind = "int";  // entry of format/kind/
  int64_t bits = 4;
  Granularity granularity = Granularity::group;
  int64_t group = 64;  // columns that share a scale; 0 unless granularity is group
  bool symmetric = true;
  // Which of the published min-max rules makes step and zero: for int "compressed_tensors", "gptq",
  // "awq", "absmax", "full_range" (format/kind/int_.cc says how they differ). The first is the
  // default because it has no bad case: "gptq" is the same rule but for symmetric groups of one
  // sign, whose upper half it cuts off, and those do occur in short last groups.
  std::string grid = "compressed_tensors";
  bool clip_search = false;        // GPTQ's MSE search: 80 shrink steps, error exponent 2.4
  DType scale_dtype = DType::f16;  // codes are chosen with the scale as it will be stored
  bool operator==(const Format&) const = default;

  int64_t groups(int64_t k) const {
    return granularity == Granularity::group ? (k + group - 1) / group : 1;
  }
  std::string label()
      const;  // "int4_g64", "int8" (row), "int8_tensor", "int3_g128_asym", "int2_g32_clip"
};
std::string_view granularity_name(Granularity granularity);

// InputError naming `subject` when no grid of that description exists: bits outside 2..8, group <
// 1, unknown kind or grid ...
void validate(const Format& format, const std::string& subject);
Json to_json(const Format& format);
// Keys left out come from `defaults`; `group` alone implies granularity group, another granularity
// implies group 0. InputError naming `subject`: unknown key, and what validate() finds.
Format format_from_json(const Json& json, const Format& defaults, const std::string& subject);

// True bits per weight of an [N, K] matrix: codes, scales, zeros, column permutation.
double bits_per_weight(const Format& format, int64_t n, int64_t k, bool scattered_groups = false);

struct Grid;

// Quantized weights. Meaning: W[n, k] = scale[n, g] * (code[n, k] - zero[n, g]), g =
// column_group[k] or k / group.
struct Codes {
  Format format;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;  // [N, K], unsigned 0 .. 2^bits - 1
  // [N, G] (tensor: one), each exactly representable in format.scale_dtype
  std::vector<float> scales;
  std::vector<uint8_t> zeros;  // [N, G]; empty when symmetric: the zero is 2^(bits-1)
  // [K] when groups are scattered (act-order without static groups), else empty
  std::vector<int32_t> column_group;

  int64_t groups() const { return format.groups(cols); }
  int64_t group_of(int64_t k) const {
    if (!column_group.empty()) return column_group[static_cast<size_t>(k)];
    return format.granularity == Granularity::group ? k / format.group : 0;
  }
  float scale(int64_t n, int64_t g) const {
    return scales[format.granularity == Granularity::tensor
                      ? 0
                      : static_cast<size_t>(n * groups() + g)];
  }
  // Writes the grid of row n, group g (zeros only where the format stores them).
  void set_grid(int64_t n, int64_t g, const Grid& grid);
  int32_t zero(int64_t n, int64_t g) const {
    if (zeros.empty()) return 1 << (format.bits - 1);
    return zeros[format.granularity == Granularity::tensor ? 0
                                                           : static_cast<size_t>(n * groups() + g)];
  }
  void dequantize_row(int64_t n, std::span<float> out) const;
  Matrix<float> dequantize() const;
  bool operator==(const Codes&) const = default;

  // Room for the codes of an [N, K] matrix: all zero, scales 1.
  static Codes empty(const Format& format, int64_t rows, int64_t cols);
};

// round half to even, the one rounding rule of the project, for |x| < 2^51: adding 1.5 * 2^52
// leaves no fraction bits. Exactly nearbyint in the default rounding mode, but it vectorises.
inline double round_half_even(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

// One grid: how a real number becomes a code, for the weights that share a scale. Made by a kind's
// `fit`.
struct Grid {
  float scale = 1;  // as it will be stored; negative under "full_range"
  int32_t zero = 0, max_code = 15;
  bool clamped = false;  // the ideal scale was beyond the storage dtype (f16: above 65504 or below
                         // 2^-25): reported, never silent

  // round(w / scale) + zero within 0..max_code, dividing in double. NaN gives code 0; callers have
  // refused it before.
  int32_t code(double w) const {
    const double low = -zero, high = max_code - zero;
    double x = w / static_cast<double>(scale);
    x = x > low ? x : low;
    x = x < high ? x : high;
    return static_cast<int32_t>(round_half_even(x)) + zero;
  }
  float value(int32_t c) const { return scale * static_cast<float>(c - zero); }
  bool operator==(const Grid&) const = default;
};

// A step as the file will hold it: rounded to `dtype` (f16, bf16 or f32). Beyond the dtype's range
// the nearest usable value is taken (never 0 or infinity) and `clamped` says so.
float stored_scale(double step, DType dtype, bool& clamped);

// A kind of format. `fit` chooses the grid for one set of weights that share a scale; weights are
// double because a rounder's compensated weights are. All zero: scale 1, and every code is the
// zero. Safe from many threads.
struct Kind {
  std::string summary, paper;
  // What config.json of a packed folder calls the values: "int" for integers times a scale, which
  // is what Grid and the layouts hold today. How they were fitted is not kept: they come back as
  // kind int.
  std::string type = "int";
  std::vector<std::string> grids;  // legal values of Format::grid
  // why this kind has no such grid, empty when it has
  std::function<std::string(const Format& format)> clash;
  std::function<Grid(std::span<const double> w, const Format& format)> fit;
};
std::span<const Named<Kind>> entries();  // generated from format/kind/*.cc
const Kind& kind_of(const Format& format);

// Codes of a run of weights on one grid.
void quantize_run(std::span<const double> w, const Grid& grid, uint8_t* codes);

// A whole matrix, each run of weights that share a scale on the grid that `fit` gives for it.
// `first`: index of its first weight in row-major order; a run is (part of) one row, but under
// granularity tensor the whole matrix. Rows are spread over `pool` when there is one; the bytes do
// not depend on it. `clamped_scales` counts the grids whose scale the storage dtype could not hold.
using FitRun = std::function<Grid(std::span<const double> run, int64_t first)>;
Codes quantize_runs(const Matrix<float>& w, const Format& format, const FitRun& fit,
                    ThreadPool* pool = nullptr, int64_t* clamped_scales = nullptr);

// Nearest rounding: the reference of every format.
Codes quantize_nearest(const Matrix<float>& w, const Format& format, ThreadPool* pool = nullptr,
                       int64_t* clamped_scales = nullptr);

}  // namespace halftone::format
