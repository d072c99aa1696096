// Small vocabulary for family files: each call appends one op and returns the number of its value.
#pragma once

#include <string>
#include <utility>

#include "halftone/files/model_config.h"
#include "halftone/spec/model_spec.h"

namespace halftone::spec {

class SegmentBuilder {
 public:
  explicit SegmentBuilder(std::string name) { segment_.name = std::move(name); }

  int32_t embed(std::string name, Embed params) {
    return push(std::move(name), {}, std::move(params));
  }
  int32_t norm(std::string name, int32_t x, Norm params) {
    return push(std::move(name), {{x}}, std::move(params));
  }
  int32_t linear(std::string name, int32_t x, Linear params) {
    return push(std::move(name), {{x}}, std::move(params));
  }
  int32_t attention(std::string name, View q, View k, View v, Attention params) {
    return push(std::move(name), {q, k, v}, std::move(params));
  }
  int32_t activation(std::string name, int32_t x, Activation::Kind kind) {
    return push(std::move(name), {{x}}, Activation{kind});
  }
  int32_t add(std::string name, int32_t a, int32_t b) {
    return push(std::move(name), {{a}, {b}}, Add{});
  }
  int32_t multiply(std::string name, int32_t a, int32_t b) {
    return push(std::move(name), {{a}, {b}}, Multiply{});
  }
  int32_t pool(std::string name, int32_t x, Pool::Kind kind) {
    return push(std::move(name), {{x}}, Pool{kind});
  }
  Segment take() { return std::move(segment_); }

 private:
  int32_t push(std::string name, std::vector<View> in, OpParams params) {
    const int32_t out = segment_.values();
    segment_.ops.push_back({std::move(name), std::move(in), out, std::move(params)});
    return out;
  }
  Segment segment_;
};

// Linear of module `module`: W [out, in] at module.weight, bias at module.bias.
Linear linear_of(const std::string& module, int64_t in, int64_t out, bool bias, Role role,
                 bool transposed = false);
// Norm of module `module` over `width`.
Norm rms_norm_of(const std::string& module, int64_t width, double eps);
Norm layer_norm_of(const std::string& module, int64_t width, double eps);

// "silu", "gelu", "gelu_new", "relu" ... of config.json; E_VALUE names what is known.
Activation::Kind activation_from(const files::ConfigReader& config, std::string_view key);

// RoPE of a config: reads rope_theta and rope_scaling, or rope_parameters of transformers 5.
// `head_dim` dimensions, of which partial_rotary_factor are rotated. Scaling kinds: default,
// linear, llama3; others are refused by name.
Rope rope_from(const files::ConfigReader& config, int64_t head_dim, double default_theta);

// Bounds shared by all families (context 2^40 must allocate nothing, layers 10^9 must be refused).
constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 512, kMaxHeads = 1 << 16,
                  kMaxVocabulary = 4 << 20;
constexpr int64_t kMaxContext = int64_t{1} << 40;

}  // namespace halftone::spec
