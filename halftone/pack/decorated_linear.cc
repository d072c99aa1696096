#include "halftone/pack/decorated_linear.h"

namespace halftone::pack {

Matrix<float> effective_weight(const DecoratedLinear& linear) {
  Matrix<float> w;
  if (linear.quantized()) {
    w = linear.codes().dequantize();
  } else {
    const HostTensor f = to_f32(linear.dense());
    w = Matrix<float>(linear.out, linear.in);
    const auto values = f.as<float>();
    w.data.assign(values.begin(), values.end());
  }
  if (!linear.input_scale.empty())
    for (int64_t n = 0; n < w.rows; ++n)
      for (int64_t k = 0; k < w.cols; ++k) w.at(n, k) *= linear.input_scale[static_cast<size_t>(k)];
  return w;
}

}  // namespace halftone::pack
