#include "halftone/spec/assemble.h"

#include <cmath>
#include <numbers>

namespace halftone::spec {

Linear linear_of(const std::string& module, int64_t in, int64_t out, bool bias, Role role,
                 bool transposed) {
  Linear linear;
  linear.weight = {module + ".weight", transposed ? Shape{in, out} : Shape{out, in}, transposed};
  if (bias) linear.bias = TensorRef{module + ".bias", {out}};
  linear.in = in;
  linear.out = out;
  linear.role = role;
  return linear;
}

Norm rms_norm_of(const std::string& module, int64_t width, double eps) {
  Norm norm;
  norm.kind = Norm::Kind::rms;
  norm.width = width;
  norm.eps = eps;
  norm.weight = TensorRef{module + ".weight", {width}};
  return norm;
}

Norm layer_norm_of(const std::string& module, int64_t width, double eps) {
  Norm norm = rms_norm_of(module, width, eps);
  norm.kind = Norm::Kind::layer;
  norm.bias = TensorRef{module + ".bias", {width}};
  return norm;
}

Activation::Kind activation_from(const files::ConfigReader& config, std::string_view key) {
  static const std::pair<std::string_view, Activation::Kind> kKnown[] = {
      {"silu", Activation::Kind::silu},
      {"swish", Activation::Kind::silu},
      {"gelu", Activation::Kind::gelu_erf},
      {"gelu_python", Activation::Kind::gelu_erf},
      {"gelu_new", Activation::Kind::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::Kind::gelu_tanh},
      {"gelu_fast", Activation::Kind::gelu_tanh},
      {"relu", Activation::Kind::relu},
      {"tanh", Activation::Kind::tanh}};
  const std::string name = config.text(key);
  for (const auto& [known, kind] : kKnown)
    if (known == name) return kind;
  config.fail(Code::value, key,
              "is " + quote(name) + ", known activations: " + listed(kKnown, [](const auto& row) {
                return row.first;
              }));
}

Rope rope_from(const files::ConfigReader& config, int64_t head_dim, double default_theta) {
  // transformers 5 writes one object with everything; older files keep rope_theta beside
  // rope_scaling. Where both are given, rope_scaling wins, as it does there.
  const bool modern = config.has("rope_parameters") && !config.has("rope_scaling");
  const Json& scaling_json = config.object(modern ? "rope_parameters" : "rope_scaling");
  const std::string where = config.path() + ": " + (modern ? "rope_parameters" : "rope_scaling");
  const files::ConfigReader scaling(scaling_json, where);
  constexpr double kMaxTheta = 1e15;
  const double theta = modern && scaling.has("rope_theta")
                           ? scaling.number("rope_theta", 0, kMaxTheta)
                           : config.number("rope_theta", 0, kMaxTheta, default_theta);
  const double partial = modern && scaling.has("partial_rotary_factor")
                             ? scaling.number("partial_rotary_factor", 0, 1)
                             : config.number("partial_rotary_factor", 0, 1, 1.0);
  Rope rope;
  rope.dims = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  if (rope.dims < 2 || rope.dims % 2 != 0)
    config.fail(
        Code::value, "head_dim",
        "leaves " + std::to_string(rope.dims) + " rotary dimensions, wanted an even number");
  rope.inverse_frequency.resize(static_cast<size_t>(rope.dims / 2));
  // float32 steps as transformers takes them: frequencies are f32 there, and angles at position
  // 8192 show the difference.
  for (int64_t i = 0; i < rope.dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.dims);
    rope.inverse_frequency[static_cast<size_t>(i)] =
        1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  const std::string kind =
      scaling.has("rope_type") ? scaling.text("rope_type") : scaling.text("type", "default");
  if (kind == "default") return rope;
  const double factor = scaling.number("factor", 0, 1e6);
  if (kind == "linear") {
    for (double& f : rope.inverse_frequency) f = static_cast<float>(f) / static_cast<float>(factor);
  } else if (kind == "llama3") {
    const double low = scaling.number("low_freq_factor", 0, 1e6),
                 high = scaling.number("high_freq_factor", 0, 1e6);
    const double original = scaling.number("original_max_position_embeddings", 0, 1e12);
    if (high <= low) scaling.fail(Code::value, "high_freq_factor", "must be above low_freq_factor");
    for (double& f : rope.inverse_frequency) {
      const double wavelength = 2.0 * std::numbers::pi / f;
      if (wavelength > original / low) {
        f = static_cast<float>(f / factor);
      } else if (wavelength >= original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        f = static_cast<float>((1.0 - smooth) * f / factor + smooth * f);
      }
    }
  } else {
    scaling.fail(Code::value, "rope_type",
                 "is " + quote(kind) + ", known: default, linear, llama3");
  }
  return rope;
}

}  // namespace halftone::spec
