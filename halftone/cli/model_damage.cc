#include "halftone/cli/model_damage.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "halftone/base/json_fields.h"
#include "halftone/eval/damage.h"
#include "halftone/pack/compression.h"

namespace halftone::cli {
namespace {

constexpr double kFolded = 0.01;       // difference of norms beyond rounding to 16 bits
constexpr double kWorthSaying = 0.02;  // of the KL: less is not worth a line of advice
constexpr int64_t kTakenApart = 2;     // blocks, the worst ones, whose linears are measured
constexpr size_t kAdvice = 5;

Json finite_or_null(double x) { return std::isfinite(x) ? Json(x) : Json(); }

Json role_of(const pack::Unit& unit, const spec::ModelSpec& spec) {
  if (unit.kind == pack::Unit::Kind::role) return unit.name;
  if (unit.kind != pack::Unit::Kind::linear) return {};
  return spec::role_name(std::get<spec::Linear>(spec::find_op(spec, unit.name)->params).role);
}

Json json_of(const pack::Unit& unit, const eval::UnitDamage& d, const spec::ModelSpec& spec) {
  const bool inside = unit.kind == pack::Unit::Kind::block || unit.kind == pack::Unit::Kind::linear;
  return {{"unit", unit.name},
          {"kind", pack::unit_kind_name(unit.kind)},
          {"block", inside ? block_of(spec, unit.first_segment) : Json()},
          {"role", role_of(unit, spec)},
          {"kl_only", d.only},
          {"kl_without", d.without},
          {"saved", d.saved},
          {"bytes", unit.bytes},
          {"bytes_8bit", unit.bytes_8bit}};
}

pack::ChannelSizes of_activations(const Matrix<float>& x) {
  return pack::channel_sizes(x, pack::ChannelMeasure::root_mean_square);
}

// What a recipe says to keep a unit at 8 bits; null for tables, which have a key of their own.
Json override_of(const pack::Unit& unit) {
  switch (unit.kind) {
    case pack::Unit::Kind::block:
      return {{"layers", std::to_string(unit.first_segment)}, {"format", "int8"}};
    case pack::Unit::Kind::role:
      return {{"roles", Json::array({unit.name})}, {"format", "int8"}};
    case pack::Unit::Kind::linear:
      return {{"ops", Json::array({unit.name})}, {"format", "int8"}};
    case pack::Unit::Kind::table:
      break;
  }
  return {};
}

// Units that hold nothing of each other, the most KL for a byte first.
Json advice(const std::vector<pack::Unit>& units, const std::vector<eval::UnitDamage>& damage) {
  std::vector<size_t> order;
  for (size_t u = 0; u < units.size(); ++u)
    if (damage[u].saved >= kWorthSaying && units[u].bytes_8bit > units[u].bytes) order.push_back(u);
  const auto extra = [&](size_t u) { return units[u].bytes_8bit - units[u].bytes; };
  const auto for_a_byte = [&](size_t u) { return damage[u].saved / static_cast<double>(extra(u)); };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return for_a_byte(a) > for_a_byte(b); });
  Json out = Json::array();
  std::set<std::string> told;
  for (const size_t u : order) {
    const auto& ops = units[u].ops;
    if (std::any_of(ops.begin(), ops.end(), [&](const auto& op) { return told.contains(op); }))
      continue;
    told.insert(ops.begin(), ops.end());
    out.push_back({{"keep", units[u].name},
                   {"bits", 8},
                   {"predicted_kl_change", -damage[u].saved},
                   {"extra_bytes", extra(u)},
                   {"override", override_of(units[u])}});
    if (out.size() == kAdvice) break;
  }
  return out;
}

}  // namespace

Json json_of(const pack::Histogram& h) {
  return {{"rms", h.rms}, {"from", -h.kReach}, {"to", h.kReach}, {"counts", h.counts}};
}
Json json_of(const pack::ChannelSizes& c) {
  return {{"p1", c.p1},       {"q1", c.q1},      {"median", c.median},
          {"q3", c.q3},       {"p99", c.p99},    {"largest_over_median", c.ratio},
          {"count", c.count}, {"worst", c.worst}};
}

Json block_of(const spec::ModelSpec& spec, int64_t segment) {
  return segment >= 0 && segment < std::ssize(spec.blocks) ? Json(segment) : Json();
}

Json weights_of(const pack::PackedModel& model, const std::vector<pack::WeightError>& errors,
                bool compared) {
  const auto storage = pack::linear_storage(model);
  Json out = Json::array();
  for (size_t i = 0; i < errors.size(); ++i)
    out.push_back(
        {{"op", errors[i].op},
         {"block", block_of(model.checkpoint().spec, errors[i].block)},
         {"role", errors[i].role},
         {"bits",
          8 * static_cast<double>(storage[i].bytes) / static_cast<double>(storage[i].weights)},
         {"bytes", storage[i].bytes},
         {"relative_error", compared && !errors[i].refused ? Json(errors[i].relative) : Json()}});
  return out;
}

std::string why_only_blocks(const pack::PackedModel& reference, const pack::PackedModel& model,
                            const Json& weights) {
  if (pack::norm_difference(reference, model) > kFolded)
    return "its norms are not those of the reference: factors were folded into them";
  for (const Json& row : weights)
    if (number(row, "relative_error") > 1) return "its weights are not the reference's, rounded";
  return {};
}

Json hidden_errors(const std::shared_ptr<const runtime::Model>& reference,
                   const std::shared_ptr<const runtime::Model>& model, std::span<const int32_t> ids,
                   const Context& context) {
  const auto& blocks = reference->spec().blocks;
  Json out = Json::array();
  if (blocks.size() != model->spec().blocks.size() ||
      reference->spec().width != model->spec().width)
    return out;
  ids = ids.first(std::min(ids.size(), static_cast<size_t>(kStateTokens)));
  const std::vector<std::vector<int32_t>> texts = {{ids.begin(), ids.end()}};
  const runtime::HiddenStates a(reference, texts, context), b(model, texts, context);
  for (int64_t block = 0; block < std::ssize(blocks); ++block)
    out.push_back({{"block", blocks[static_cast<size_t>(block)].name},
                   {"hidden_error",
                    finite_or_null(eval::median_row_error(a.at(block + 1), b.at(block + 1)))}});
  return out;
}

void add_first_divergence(Json& result) {
  const auto first = eval::first_divergence(numbers(result["layers"], "hidden_error"));
  result["diverges_above"] = eval::kDiverges;
  result["first_divergence"] =
      first ? result["layers"][static_cast<size_t>(*first)]["block"] : Json();
}

void add_layers(Json& result, const runtime::HiddenStates& states,
                const runtime::HiddenStates* quantized, const spec::ModelSpec& spec) {
  Json rows = Json::array();
  for (int64_t block = 0; block < std::ssize(spec.blocks); ++block) {
    const Matrix<float>& hidden = states.at(block + 1);
    rows.push_back({{"block", spec.blocks[static_cast<size_t>(block)].name},
                    {"hidden_error", quantized != nullptr ? finite_or_null(eval::median_row_error(
                                                                hidden, quantized->at(block + 1)))
                                                          : Json()},
                    {"activations", json_of(pack::histogram(hidden.data))},
                    {"channels", json_of(of_activations(hidden))}});
  }
  result["layers"] = std::move(rows);
  if (quantized != nullptr) return add_first_divergence(result);
  result["diverges_above"] = eval::kDiverges;
  result["first_divergence"] = nullptr;
}

void add_inputs(Json& result, const std::shared_ptr<const runtime::Model>& model,
                const runtime::HiddenStates& states, const Context& context) {
  std::map<std::string, Json> places;
  for (const auto& ref : spec::linears(model->spec()))
    places[ref.op->name] = {{"block", block_of(model->spec(), ref.segment)},
                            {"role", spec::role_name(ref.linear().role)}};
  Json rows = Json::array();
  runtime::each_linear_input(model, states, context,
                             [&](std::span<const std::string> ops, const Matrix<float>& inputs) {
                               Json row = places.at(ops.front());
                               row["ops"] = std::vector<std::string>(ops.begin(), ops.end());
                               row["activations"] = json_of(pack::histogram(inputs.data));
                               row["channels"] = json_of(of_activations(inputs));
                               rows.push_back(std::move(row));
                             });
  result["inputs"] = std::move(rows);
}

void add_units(Json& result, const DamageInput& in, const Context& context) {
  using Kind = pack::Unit::Kind;
  const pack::PackedModel &model = in.model, &reference = in.reference;
  std::vector<pack::Unit> units = pack::units(reference, model);
  if (in.blocks_only) std::erase_if(units, [](const auto& u) { return u.kind != Kind::block; });
  // Work in blocks that are run: two walks of the unit, three heads.
  const spec::ModelSpec& spec = model.checkpoint().spec;
  const auto blocks = static_cast<double>(spec.blocks.size());
  double of_blocks = 0, of_head = 0;
  for (const auto& ref : spec::linears(spec))
    (ref.segment < std::ssize(spec.blocks) ? of_blocks : of_head) +=
        static_cast<double>(ref.linear().in * ref.linear().out);
  const double heads = 3 * of_head / std::max(of_blocks, 1.0) * blocks;
  const auto work = [&](const pack::Unit& unit) {
    return 2 * (blocks - static_cast<double>(std::max<int64_t>(unit.first_segment, 0))) + heads;
  };
  double done = 0, later = 0;  // work of the rounds before and to come: one bar for all
  const auto run = [&](const std::vector<pack::Unit>& some) {
    std::vector<eval::DamageUnit> named;
    double all = done + later;
    for (const pack::Unit& u : some) {
      named.push_back({u.name, work(u)});
      all += named.back().work;
    }
    Context inner = context;
    inner.progress = [&](Progress p) {
      p.done += done;
      p.total = all;
      context.progress(p);
    };
    auto found = eval::unit_damage(
        in.mixed.reference(), in.whole_kl, named,
        [&](size_t u, bool only) { return in.mixed.mixed(some[u], only); }, in.ids, in.protocol,
        inner, in.memory);
    done = all - later;
    return found;
  };
  if (!in.blocks_only)
    for (const pack::Unit& u : units)
      if (u.kind == Kind::block && later == 0)
        later = static_cast<double>(kTakenApart) * (blocks + heads) *
                static_cast<double>(pack::linears_of(u, reference, model).size());
  std::vector<eval::UnitDamage> damage = run(units);
  later = 0;
  if (!in.blocks_only) {
    std::vector<size_t> worst;
    for (size_t u = 0; u < units.size(); ++u)
      if (units[u].kind == Kind::block) worst.push_back(u);
    std::stable_sort(worst.begin(), worst.end(),
                     [&](size_t a, size_t b) { return damage[a].saved > damage[b].saved; });
    if (std::ssize(worst) > kTakenApart) worst.resize(static_cast<size_t>(kTakenApart));
    std::vector<pack::Unit> linears;
    for (const size_t u : worst)
      for (pack::Unit& l : pack::linears_of(units[u], reference, model))
        linears.push_back(std::move(l));
    const auto more = run(linears);
    units.insert(units.end(), linears.begin(), linears.end());
    damage.insert(damage.end(), more.begin(), more.end());
  }
  Json rows = Json::array();
  for (size_t u = 0; u < units.size(); ++u) rows.push_back(json_of(units[u], damage[u], spec));
  result["units"] = std::move(rows);
  result["units_measured"] = {{"kl_mean", in.whole_kl},
                              {"protocol", in.protocol.name},
                              {"windows", in.protocol.windows.size()}};
  result["advice"] = advice(units, damage);
}

}  // namespace halftone::cli
