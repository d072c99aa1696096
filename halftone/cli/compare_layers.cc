#include "halftone/cli/compare_layers.h"

#include <algorithm>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/cli/model_damage.h"
#include "halftone/eval/damage.h"
#include "halftone/pack/mixed_model.h"
#include "halftone/pack/weight_error.h"
#include "halftone/runtime/mixed_logits.h"

namespace halftone::cli {
namespace {

Json ranges_of(const spec::ModelSpec& spec, const std::vector<pack::WeightError>& errors) {
  Json out = Json::array();
  for (const pack::WeightError& row : errors) {
    if (row.refused) continue;
    const pack::ChannelSizes& c = row.inputs;
    Json worst = Json::array();
    for (const auto& [channel, size] : c.worst) worst.push_back({channel, rounded(size)});
    out.push_back({{"block", block_of(spec, row.block)},
                   {"role", row.role},
                   {"p1", rounded(c.p1)},
                   {"q1", rounded(c.q1)},
                   {"median", rounded(c.median)},
                   {"q3", rounded(c.q3)},
                   {"p99", rounded(c.p99)},
                   {"worst", worst}});
  }
  return out;
}

// What the weights alone tell of `models`, that of the reference first: rows get "channel_ranges",
// those of candidates "weights". Weights are read once for all that `memory` does not know.
void add_weights(const std::vector<LogitModel>& models, std::span<const size_t> wanted,
                 std::span<const eval::RunMemory> memory, Json& rows, const Context& context) {
  const uint64_t key = eval::memory_key("weights", {}, 0);
  std::vector<size_t> missing;
  std::vector<const pack::PackedModel*> packed;
  for (const size_t m : wanted) {
    if (const auto known = memory[m].find ? memory[m].find(key) : std::nullopt) {
      rows[m].update(*known);
      continue;
    }
    missing.push_back(m);
    packed.push_back(models[m].packed.get());
  }
  if (missing.empty()) return;
  context.progress({"weights", "", 0, 1, ""});
  const auto errors = pack::weight_errors(packed, models[0].packed.get(), context);
  for (size_t i = 0; i < missing.size(); ++i) {
    const size_t m = missing[i];
    Json found = {{"channel_ranges", ranges_of(packed[i]->checkpoint().spec, errors[i])}};
    if (m > 0) found["weights"] = weights_of(*packed[i], errors[i], true);
    if (memory[m].keep) memory[m].keep(key, found);
    rows[m].update(found);
  }
}

}  // namespace

void add_layers(const std::vector<LogitModel>& models, std::span<const int32_t> ids,
                std::span<const eval::RunMemory> memory, Json& rows, const Context& context) {
  std::vector<size_t> wanted = {0};
  for (size_t m = 1; m < models.size(); ++m) {
    try {
      pack::check_mixable(*models[0].packed, *models[m].packed);
    } catch (const InputError& e) {
      context.warn("linears are not compared: " + std::string(e.what()));
      continue;
    }
    wanted.push_back(m);
  }
  if (wanted.size() == 1) return;
  add_weights(models, wanted, memory, rows, context);
  if (models[0].model == nullptr) return;
  const uint64_t key = eval::memory_key(
      "hidden errors", ids.first(std::min(ids.size(), static_cast<size_t>(kStateTokens))), 0);
  for (const size_t m : std::span(wanted).subspan(1)) {
    rows[m]["layers"] = eval::remembered(memory[m], key, [&] {
      return hidden_errors(models[0].model, models[m].model, ids, context);
    });
    add_first_divergence(rows[m]);
  }
}

void add_damage(const std::vector<LogitModel>& models, std::span<const int32_t> ids, int64_t window,
                std::span<const eval::RunMemory> memory, Json& rows, const Context& context) {
  const eval::Protocol protocol = eval::gptq_windows(
      std::ssize(ids), std::min(window, eval::kDamageWindow), eval::kDamageWindows);
  const auto damage_of = [&](size_t m) {
    const auto &reference = models[0].packed, &model = models[m].packed;
    const std::string why = why_only_blocks(*reference, *model, rows[m]["weights"]);
    if (!why.empty())
      context.warn(rows[m]["name"].get<std::string>() + ": " + why +
                   ", so only whole blocks are exchanged");
    runtime::MixedLogits mixed(reference, model, eval::texts_of(protocol, ids), {}, context);
    eval::LogitSource* const whole = &mixed.quantized();
    const double whole_kl =
        eval::divergence(mixed.reference(), {&whole, 1}, ids, protocol, context)[0].kl_mean;
    Json found = Json::object();
    add_units(found,
              {.model = *model,
               .reference = *reference,
               .mixed = mixed,
               .ids = ids,
               .protocol = protocol,
               .whole_kl = whole_kl,
               .blocks_only = !why.empty(),
               .memory = memory[m]},
              context);
    return found;
  };
  const uint64_t key = eval::memory_key(
      "units, " + std::to_string(protocol.windows.size()) + " windows of " + protocol.name, ids, 0);
  for (size_t m = 1; m < models.size(); ++m)
    if (rows[m].contains("weights"))
      rows[m].update(eval::remembered(memory[m], key, [&] { return damage_of(m); }));
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
