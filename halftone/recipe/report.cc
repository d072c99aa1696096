// The driver's reports as JSON, and layer reports back out of the journal.
#include <limits>

#include "halftone/recipe/block_run.h"
#include "halftone/recipe/driver.h"

namespace halftone::recipe {

double LayerReport::ratio() const {
  if (nearest_error > 0) return error / nearest_error;
  return error > 0 ? std::numeric_limits<double>::infinity() : 1.0;
}

Json to_json(const LayerReport& r) {
  Json out = {{"op", r.op},
              {"format", format::to_json(r.format)},
              {"bits_per_weight", r.bits_per_weight},
              {"rounder", r.rounder},
              {"error", r.error},
              {"nearest_error", r.nearest_error},
              {"ratio", r.ratio()},  // infinite is written as null
              {"damping", r.damping},
              {"dead_columns", r.dead_columns},
              {"clamped_scales", r.clamped_scales},
              {"scattered", r.scattered},
              {"refitted", r.refitted}};
  if (!r.fallback.empty()) out["fallback"] = r.fallback;
  return out;
}

LayerReport layer_report_from(const Json& json) {
  try {
    if (!json.at("format").is_object())
      throw FileError(Code::type, "layer report", "the format is not an object");
    return {.op = json.at("op"),
            .rounder = json.at("rounder"),
            .format = format::format_from_json(json.at("format"), {}, "layer report"),
            .bits_per_weight = json.at("bits_per_weight"),
            .error = json.at("error"),
            .nearest_error = json.at("nearest_error"),
            .damping = json.at("damping"),
            .dead_columns = json.at("dead_columns"),
            .clamped_scales = json.at("clamped_scales"),
            .scattered = json.at("scattered"),
            .refitted = json.value("refitted", false),
            .fallback = json.value("fallback", "")};
  } catch (const Json::exception&) {
    throw FileError(Code::value, "layer report", "a key is missing or of another type");
  }
}

double bits_per_weight(const std::vector<LayerReport>& layers, const spec::ModelSpec& spec) {
  double bits = 0, weights = 0;
  for (const LayerReport& layer : layers) {
    const auto& linear = std::get<spec::Linear>(spec::find_op(spec, layer.op)->params);
    const double count = static_cast<double>(linear.in) * static_cast<double>(linear.out);
    bits += layer.bits_per_weight * count;
    weights += count;
  }
  return weights > 0 ? bits / weights : 0;
}

Json to_json(const PlanReport& p) {
  Json rows = Json::array();
  for (const PlanReport::Row& row : p.rows)
    rows.push_back({{"format", row.format},
                    {"linears", row.linears},
                    {"parameters", row.parameters},
                    {"bytes", row.bytes}});
  return {{"layout", p.layout},
          {"formats", rows},
          {"parameters", p.parameters},
          {"quantized_parameters", p.quantized_parameters},
          {"output_bytes", p.output_bytes},
          {"work_bytes", p.work_bytes},
          {"bits_per_weight", p.model_bits_per_weight},
          {"quantized_bits_per_weight", p.bits_per_weight},
          {"nominal_bits", p.nominal_bits},
          {"peak_memory_bytes", p.peak_memory},
          {"seconds", p.seconds},
          {"gflops", p.gflops}};
}

Json to_json(const QuantizeResult& r) {
  Json layers = Json::array();
  for (const LayerReport& layer : r.layers) layers.push_back(to_json(layer));
  Json out = {{"plan", to_json(r.plan)},
              {"blocks", r.blocks},
              {"reused_blocks", r.reused_blocks},
              {"already_complete", r.already_complete},
              {"fallbacks", r.fallbacks},
              {"output_bytes", r.output_bytes},
              {"bits_per_weight", r.plan.model_bits_per_weight},
              {"quantized_bits_per_weight", r.bits_per_weight},
              {"fingerprint", r.fingerprint},
              {"seconds", r.seconds},
              {"layers", layers}};
  if (r.calibration) out["calibration"] = to_json(*r.calibration);
  return out;
}

}  // namespace halftone::recipe
