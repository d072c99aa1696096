#include "halftone/format/plan.h"

#include <array>

#include "halftone/base/error.h"

namespace halftone::format {
namespace {
constexpr std::array kPorts = {Port::weight, Port::input, Port::output, Port::scores, Port::kv};
}

std::string_view port_name(Port port) {
  switch (port) {
    case Port::weight:
      return "weight";
    case Port::input:
      return "input";
    case Port::output:
      return "output";
    case Port::scores:
      return "scores";
    case Port::kv:
      return "kv";
  }
  return "";
}

const Format* Plan::find(const std::string& op, Port port) const {
  const auto it = ports.find({op, port});
  return it == ports.end() ? nullptr : &it->second;
}

// {"model.layers.0.mlp.up_proj": {"weight": {"kind": "int", ...}}, ...}: sorted by op, then port,
// so equal plans give equal text.
Json to_json(const Plan& plan) {
  Json out = Json::object();
  for (const auto& [key, format] : plan.ports)
    out[key.op][std::string(port_name(key.port))] = to_json(format);
  return out;
}

Plan plan_from_json(const Json& json, const std::string& subject) {
  if (!json.is_object()) throw InputError(subject, "a plan is a map of op names");
  Plan plan;
  for (const auto& [op, ports] : json.items()) {
    if (!ports.is_object())
      throw InputError(subject, "plan of " + quote(op) + " is not a map of ports");
    for (const auto& [name, format] : ports.items()) {
      const Port* port = nullptr;
      std::string all;
      for (const Port& candidate : kPorts) {
        all += (all.empty() ? "" : ", ") + std::string(port_name(candidate));
        if (port_name(candidate) == name) port = &candidate;
      }
      if (port == nullptr)
        throw InputError(subject, "plan of " + quote(op) + " has no port " + quote(name),
                         "known: " + all);
      plan.ports[{op, *port}] =
          format_from_json(format, Format{}, subject + ": " + quote(op) + " " + name);
    }
  }
  return plan;
}

}  // namespace halftone::format
