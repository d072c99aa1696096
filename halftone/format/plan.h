// Plan: what is quantized, and how. Keyed by (op, port), so that weights, static activation scales,
// quantized scores and the KV cache live in one structure. An allocator returns a whole Plan; the
// final one is frozen into the packed file.
#pragma once

#include <compare>
#include <map>
#include <string>

#include "halftone/base/json.h"
#include "halftone/format/format.h"

namespace halftone::format {

enum class Port : uint8_t { weight, input, output, scores, kv };
std::string_view port_name(Port port);

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
Json to_json(const Plan& plan);
Plan plan_from_json(const Json& json, const std::string& subject);

}  // namespace halftone::format
