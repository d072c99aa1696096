#include "halftone/format/format.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "halftone/base/half.h"

namespace halftone::format {
namespace {

// wider than any matrix; keeps ceil(K / group) from wrapping
constexpr int64_t kLargestGroup = int64_t{1} << 24;

// Format as the user writes it.
struct Keys {
  std::string kind, granularity, grid, scale_dtype;
  int64_t bits = 0, group = 0;
  bool symmetric = true, clip_search = false;
};

void fields(auto& visit, Keys& k) {
  visit("kind", k.kind, "which family of values: int");
  visit("bits", k.bits, "bits of one code, 2 to 8");
  visit("granularity", k.granularity, "who shares a scale: tensor, row or group");
  visit("group", k.group, "columns that share a scale, for granularity group");
  visit("symmetric", k.symmetric, "no zero point is stored");
  visit("grid", k.grid, "the min-max rule that makes scale and zero");
  visit("clip_search", k.clip_search, "search the clip range that loses least (GPTQ's MSE search)");
  visit("scale_dtype", k.scale_dtype, "how scales are stored: f16, bf16 or f32");
}

Keys to_keys(const Format& f) {
  return {.kind = f.kind,
          .granularity = std::string(granularity_name(f.granularity)),
          .grid = f.grid,
          .scale_dtype = std::string(dtype_name(f.scale_dtype)),
          .bits = f.bits,
          .group = f.group,
          .symmetric = f.symmetric,
          .clip_search = f.clip_search};
}

template <class T>
T pick(const std::string& word, std::span<const T> values, auto name_of, const std::string& key,
       const std::string& subject) {
  for (const T& value : values)
    if (name_of(value) == word) return value;
  throw InputError(subject, key + " is " + quote(word), "known: " + listed(values, name_of));
}

constexpr Granularity kGranularities[] = {Granularity::tensor, Granularity::row,
                                          Granularity::group};
constexpr DType kScaleDTypes[] = {DType::f16, DType::bf16, DType::f32};

const Table<Kind>& kinds() {
  static const Table<Kind> table("format kind", entries());
  return table;
}

}  // namespace

std::string_view granularity_name(Granularity granularity) {
  switch (granularity) {
    case Granularity::tensor:
      return "tensor";
    case Granularity::row:
      return "row";
    case Granularity::group:
      return "group";
  }
  return "";
}

std::string Format::label() const {
  std::string text = kind + std::to_string(bits);
  if (granularity == Granularity::tensor) text += "_tensor";
  if (granularity == Granularity::group) text += "_g" + std::to_string(group);
  if (!symmetric) text += "_asym";
  if (clip_search) text += "_clip";
  return text;
}

const Kind& kind_of(const Format& format) { return kinds().at(format.kind); }

void validate(const Format& format, const std::string& subject) {
  const Kind* kind = kinds().find(format.kind);
  if (kind == nullptr)
    throw InputError(
        subject, "unknown format kind " + quote(format.kind),
        "known: " + listed(kinds().rows(), [](const Named<Kind>& row) { return row.name; }));
  if (format.granularity == Granularity::group &&
      (format.group < 1 || format.group > kLargestGroup))
    throw InputError(subject, "group is " + std::to_string(format.group),
                     "write group: 64, or granularity: row for one scale per row");
  if (format.granularity != Granularity::group && format.group != 0)
    throw InputError(subject,
                     "group " + std::to_string(format.group) + " and granularity " +
                         std::string(granularity_name(format.granularity)) +
                         " contradict each other",
                     "leave one of them out");
  if (std::find(std::begin(kScaleDTypes), std::end(kScaleDTypes), format.scale_dtype) ==
      std::end(kScaleDTypes))
    throw InputError(subject, "scale_dtype is " + std::string(dtype_name(format.scale_dtype)),
                     "known: " + listed(kScaleDTypes, dtype_name));
  pick(
      format.grid, std::span<const std::string>(kind->grids),
      [](const std::string& name) { return name; }, "grid", subject);
  if (const std::string why = kind->clash(format); !why.empty()) throw InputError(subject, why);
}

Json to_json(const Format& format) { return write_fields(to_keys(format)); }

Format format_from_json(const Json& json, const Format& defaults, const std::string& subject) {
  const Keys keys = read_fields<Keys>(json, subject, to_keys(defaults));
  Format format{.kind = keys.kind,
                .bits = keys.bits,
                .group = keys.group,
                .symmetric = keys.symmetric,
                .grid = keys.grid,
                .clip_search = keys.clip_search};
  format.granularity = pick(keys.granularity, std::span<const Granularity>(kGranularities),
                            granularity_name, "granularity", subject);
  format.scale_dtype = pick(keys.scale_dtype, std::span<const DType>(kScaleDTypes), dtype_name,
                            "scale_dtype", subject);
  const bool has_granularity = json.is_object() && json.contains("granularity");
  const bool has_group = json.is_object() && json.contains("group");
  if (has_group && !has_granularity) format.granularity = Granularity::group;
  if (!has_group && format.granularity != Granularity::group) format.group = 0;
  if (!has_group && format.granularity == Granularity::group && format.group == 0)
    format.group = Format{}.group;
  validate(format, subject);
  return format;
}

float stored_scale(double step, DType dtype, bool& clamped) {
  constexpr double kF32 = std::numeric_limits<float>::max();
  const double bounded = std::clamp(step, -kF32, kF32);
  float value = static_cast<float>(bounded);
  float largest = std::numeric_limits<float>::max(),
        smallest = std::numeric_limits<float>::denorm_min();
  if (dtype == DType::f16) {
    value = f16_to_f32(f32_to_f16(value));
    largest = 65504.0f, smallest = 0x1p-24f;
  } else if (dtype == DType::bf16) {
    value = bf16_to_f32(f32_to_bf16(value));
    largest = 0x1.fep127f, smallest = 0x1p-133f;
  }
  clamped = bounded != step;
  if (std::isinf(value)) {
    clamped = true;
    return std::copysign(largest, value);
  }
  if (value == 0) {
    clamped = true;
    return std::copysign(smallest, static_cast<float>(step));
  }
  return value;
}

double bits_per_weight(const Format& format, int64_t n, int64_t k, bool scattered_groups) {
  if (n == 0 || k == 0) return 0;
  const double weights = static_cast<double>(n) * static_cast<double>(k);
  const double grids = format.granularity == Granularity::tensor
                           ? 1
                           : static_cast<double>(n) * static_cast<double>(format.groups(k));
  const double scale_bits = 8 * static_cast<double>(dtype_bytes(format.scale_dtype));
  const double zero_bits = format.symmetric ? 0 : static_cast<double>(format.bits);
  const double order_bits = scattered_groups ? 32 * static_cast<double>(k) : 0;
  return static_cast<double>(format.bits) +
         (grids * (scale_bits + zero_bits) + order_bits) / weights;
}

Codes Codes::empty(const Format& format, int64_t rows, int64_t cols) {
  Codes out{.format = format,
            .rows = rows,
            .cols = cols,
            .codes = {},
            .scales = {},
            .zeros = {},
            .column_group = {}};
  const size_t grids =
      format.granularity == Granularity::tensor ? 1 : static_cast<size_t>(rows * out.groups());
  out.codes.resize(static_cast<size_t>(rows * cols));
  out.scales.assign(grids, 1.0f);
  if (!format.symmetric) out.zeros.resize(grids);
  return out;
}

void Codes::set_grid(int64_t n, int64_t g, const Grid& grid) {
  const size_t i =
      format.granularity == Granularity::tensor ? 0 : static_cast<size_t>(n * groups() + g);
  scales[i] = grid.scale;
  if (!zeros.empty()) zeros[i] = static_cast<uint8_t>(grid.zero);
}

void Codes::dequantize_row(int64_t n, std::span<float> out) const {
  const uint8_t* row = codes.data() + n * cols;
  if (!column_group.empty()) {
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t g = column_group[static_cast<size_t>(k)];
      out[static_cast<size_t>(k)] = scale(n, g) * static_cast<float>(row[k] - zero(n, g));
    }
    return;
  }
  const int64_t width = format.granularity == Granularity::group ? format.group : cols;
  for (int64_t begin = 0, g = 0; begin < cols; begin += width, ++g) {
    const float s = scale(n, g);
    const int32_t z = zero(n, g);
    float* to = out.data();
    for (int64_t k = begin; k < std::min(cols, begin + width); ++k)
      to[k] = s * static_cast<float>(row[k] - z);
  }
}

Matrix<float> Codes::dequantize() const {
  Matrix<float> w(rows, cols);
  for (int64_t n = 0; n < rows; ++n) dequantize_row(n, w.row(n));
  return w;
}

}  // namespace halftone::format
