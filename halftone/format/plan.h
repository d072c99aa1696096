// Plan: what is quantized, and how. Keyed by (op, port), so that weights, static activation scales,
// quantized scores and the KV cache can live in one structure. An allocator returns a whole Plan for
// the weights; a packed folder gives the Plan that its config.json spells out, module by module.
// Engines read Port::weight. Port::input tells what a folder's makers did to activations; the
// runtime has its own way (runtime/model.h). Nothing reads or writes the other ports yet.
#pragma once

#include <compare>
#include <map>
#include <string>

#include "halftone/format/format.h"

namespace halftone::format {

enum class Port : uint8_t { weight, input, output, scores, kv };

struct PortKey {
  std::string op;  // "model.layers.0.self_attn.q_proj"
  Port port = Port::weight;
  auto operator<=>(const PortKey&) const = default;
};

struct Plan {
  std::map<PortKey, Format> ports;  // absent = full precision
  const Format* find(const std::string& op, Port port) const;
  bool operator==(const Plan&) const = default;
};

}  // namespace halftone::format
