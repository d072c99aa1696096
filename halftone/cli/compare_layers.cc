#include "halftone/cli/compare_layers.h"

#include <algorithm>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/eval/damage.h"
#include "halftone/pack/channel_ranges.h"
#include "halftone/pack/mixed_model.h"
#include "halftone/pack/weight_error.h"
#include "halftone/runtime/mixed_logits.h"

namespace halftone::cli {
namespace {

constexpr int64_t kDamageWindows = 2, kDamageWindow = 512;  // as `check` has them

// `segment` of a spec as people count blocks; null in front of them and behind.
Json block_of(const spec::ModelSpec& spec, int64_t segment) {
  return segment >= 0 && segment < std::ssize(spec.blocks) ? Json(segment) : Json();
}

Json units_of(const pack::PackedModel& model, const pack::PackedModel& reference,
              const Context& context) {
  const spec::ModelSpec& spec = model.checkpoint().spec;
  const auto linears = spec::linears(spec);
  const auto errors = pack::weight_errors(model, &reference, context);
  Json out = Json::array();
  for (size_t i = 0; i < linears.size(); ++i) {
    const spec::Linear& linear = linears[i].linear();
    const uint64_t bytes = pack::stored_bytes(model, *linears[i].op);
    out.push_back({{"unit", errors[i].op},
                   {"block", block_of(spec, linears[i].segment)},
                   {"role", errors[i].role},
                   {"bits", rounded(8 * static_cast<double>(bytes) /
                                    static_cast<double>(linear.out * linear.in))},
                   {"bytes", bytes},
                   {"relative_error",
                    errors[i].refused.empty() ? Json(rounded(errors[i].relative)) : Json()}});
  }
  return out;
}

Json ranges_of(const pack::PackedModel& model, const Context& context) {
  const spec::ModelSpec& spec = model.checkpoint().spec;
  Json out = Json::array();
  for (const pack::LinearRange& row : pack::channel_ranges(model, context)) {
    const pack::ChannelRange& r = row.range;
    Json worst = Json::array();
    for (const auto& [channel, value] : r.worst)
      worst.push_back({channel, rounded(static_cast<double>(value))});
    out.push_back({{"block", block_of(spec, row.block)},
                   {"role", row.role},
                   {"p1", rounded(r.p1)},
                   {"q1", rounded(r.q1)},
                   {"median", rounded(r.median)},
                   {"q3", rounded(r.q3)},
                   {"p99", rounded(r.p99)},
                   {"worst", worst}});
  }
  return out;
}

}  // namespace

void add_layers(const std::vector<LogitModel>& models, Json& rows, const Context& context) {
  bool any = false;
  for (size_t m = 1; m < models.size(); ++m) {
    context.progress({"weights", "", static_cast<double>(m - 1),
                      static_cast<double>(models.size() - 1), "models"});
    try {
      pack::check_mixable(*models[0].packed, *models[m].packed);
    } catch (const InputError& e) {
      context.warn("linears are not compared: " + std::string(e.what()));
      continue;
    }
    rows[m]["units"] = units_of(*models[m].packed, *models[0].packed, context);
    rows[m]["channel_ranges"] = ranges_of(*models[m].packed, context);
    any = true;
  }
  if (any) rows[0]["channel_ranges"] = ranges_of(*models[0].packed, context);
}

void add_damage(const std::vector<LogitModel>& models, Json& rows, std::span<const int32_t> ids,
                const Context& context) {
  int64_t window = std::min(kDamageWindow, std::ssize(ids));
  for (const LogitModel& m : models) window = std::min(window, m.source->context());
  const eval::Protocol protocol = eval::gptq_windows(std::ssize(ids), window, kDamageWindows);
  std::vector<std::vector<int32_t>> windows;
  for (const eval::Window& w : protocol.windows)
    windows.emplace_back(ids.begin() + w.begin, ids.begin() + w.end);
  for (size_t m = 1; m < models.size(); ++m) {
    if (!rows[m].contains("units")) continue;
    const auto &reference = models[0].packed, &model = models[m].packed;
    std::vector<pack::Unit> units = pack::units(*reference, *model);
    std::erase_if(units, [](const auto& u) { return u.kind != pack::Unit::Kind::block; });
    // Blocks before a unit are not run.
    const auto blocks = std::ssize(model->checkpoint().spec.blocks);
    std::vector<eval::DamageUnit> named;
    for (const pack::Unit& unit : units)
      named.push_back({unit.name, static_cast<double>(blocks - unit.first_segment)});
    runtime::MixedLogits mixed(reference, model, windows, {}, context);
    eval::LogitSource* const whole = &mixed.quantized();
    const double whole_kl =
        eval::divergence(mixed.reference(), {&whole, 1}, ids, protocol, context)[0].kl_mean;
    const auto found = eval::unit_damage(
        mixed.reference(), whole_kl, named,
        [&](size_t u, bool only) { return mixed.mixed(units[u], only); }, ids, protocol, context);
    for (size_t u = 0; u < units.size(); ++u)
      rows[m]["units"].push_back({{"unit", units[u].name},
                                  {"block", units[u].first_segment},
                                  {"role", nullptr},
                                  {"bits", nullptr},
                                  {"bytes", units[u].bytes},
                                  {"relative_error", nullptr},
                                  {"kl_share", rounded(found[u].saved)}});
  }
}

Json read_sweep(const std::string& folder, const Context& context) {
  const std::string path = join_path(folder, "summary.json");
  Json sweep = parse_json(context.env->read_text(path, context.limits.json_file_bytes), path,
                          context.limits);
  // What the page reads of it, in the shapes that sweep writes.
  const auto is_plane = [](const Json& rows, size_t height, size_t width) {
    return rows.is_array() && rows.size() == height &&
           std::all_of(rows.begin(), rows.end(),
                       [&](const Json& row) { return row.is_array() && row.size() == width; });
  };
  const auto is_sweep = [&] {
    const Json& grid = sweep.at("grid");
    const size_t temperatures = grid.at("temperatures").size(), top_ks = grid.at("top_ks").size(),
                 lengths = grid.at("lengths").size();
    for (const Json& model : sweep.at("models")) {
      if (!model.at("name").is_string()) return false;
      const Json& summary = model.at("summary");
      for (const Json& measure : sweep.at("measures")) {
        const auto key = measure.at(0).get<std::string>();
        if (!measure.at(1).is_string() ||
            !is_plane(summary.at("temperature_top_k").at(key), temperatures, top_ks) ||
            !is_plane(summary.at("length_temperature").at(key), lengths, temperatures) ||
            !is_plane(summary.at("length_top_k").at(key), lengths, top_ks))
          return false;
        summary.at("mean").at(key).at("mean");
      }
      const Json cubes = summary.value("by_length_temperature_top_k", Json::object());
      for (const Json& planes : cubes)
        if (planes.size() != lengths ||
            !std::all_of(planes.begin(), planes.end(),
                         [&](const Json& plane) { return is_plane(plane, temperatures, top_ks); }))
          return false;
    }
    return true;
  };
  bool right = false;
  try {
    right = is_sweep();
  } catch (const Json::exception&) {
  }
  if (!right)
    throw FileError(Code::value, path, "is no summary of halftone sweep", {},
                    "name the folder that halftone sweep wrote (-o)");
  return sweep;
}

}  // namespace halftone::cli
