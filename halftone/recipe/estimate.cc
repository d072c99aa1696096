#include "halftone/recipe/estimate.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "halftone/base/rng.h"

namespace halftone::recipe {
namespace {

// Resident beside what is counted below: the lean program, and the worker with its tensor library
// (260 MB before any work on stories260K; quickstart's GPTQ peaks at 554 MB of the 566 said). A
// tokenizer costs about 5 KB an entry while it is there, which is before the first block.
constexpr uint64_t kLeanBytes = 20ull << 20, kWorkerBytes = 300ull << 20, kBytesPerToken = 5 << 10;
constexpr double kLeanBytesPerSecond = 1e9;  // reading, hashing and writing tensors, rough

double calibration_tokens(const Recipe& recipe) {
  return recipe.calibration ? static_cast<double>(recipe.calibration->samples) *
                                  static_cast<double>(recipe.calibration->length)
                            : 0;
}

uint64_t matrix_bytes(int64_t n, int64_t k, uint64_t element) {
  return static_cast<uint64_t>(n) * static_cast<uint64_t>(k) * element;
}

// A tensor that is copied is in memory twice: as it is read (blocks of GGUF as f32), and as it is
// written.
uint64_t assembly_memory(const QuantizeRequest& request, const Assignment& assignment) {
  uint64_t worst = 0;
  for (const auto& ref : dense_tensors(request.checkpoint.spec, assignment)) {
    const files::TensorInfo* info = request.checkpoint.tensors->find(ref.name);
    const bool half = info != nullptr && (info->dtype == DType::f16 || info->dtype == DType::bf16);
    worst = std::max(
        worst, static_cast<uint64_t>(element_count(ref.shape) *
                                     ((half ? 2 : 4) + dtype_bytes(request.recipe.dense_dtype))));
  }
  return worst;
}

int64_t last_observed_input(const Unit& unit) {
  int64_t in = 0;
  for (const InputGroup& group : unit.groups)
    if (!group.needs.empty()) in = group.linears.front()->in;
  return in;
}

// The piece of a block at hand in f32 (engine), the linears of one input once more in f32, one of
// them a third time, codes, Hessians that live at once, hidden states, and what a forward pass of
// one sample per thread holds.
uint64_t peak_memory(const QuantizeRequest& request, const Assignment& assignment,
                     const Schedule& schedule, const Context& context) {
  const Recipe& recipe = request.recipe;
  uint64_t worst = assembly_memory(request, assignment);
  for (const Unit& unit : schedule.units) {
    const bool engine = unit.index <= schedule.last_observed;
    uint64_t bytes = 0, widest = static_cast<uint64_t>(request.checkpoint.spec.width), hessians = 0,
             packed = 0, linears = 0;
    for (const spec::Op& op : unit.segment.ops)
      if (const auto* linear = std::get_if<spec::Linear>(&op.params)) {
        if (engine) bytes += matrix_bytes(linear->out, linear->in, 4);
        widest = std::max(widest, static_cast<uint64_t>(linear->out));
      }
    for (const InputGroup& group : unit.groups) {
      uint64_t group_bytes = 0;
      for (const Choice* c : group.linears) {
        group_bytes += matrix_bytes(c->out, c->in, 4 + 3);  // codes: nearest's, first, second try
        packed += packed_bytes(c->format, c->out, c->in, pack::Layout::halftone, c->scattered);
      }
      linears = std::max(linears, group_bytes + matrix_bytes(group.linears.back()->out,
                                                             group.linears.back()->in, 4));
      if (!group.needs.contains(Need::input_hessian)) continue;
      const uint64_t hessian =
          matrix_bytes(group.linears.front()->in, group.linears.front()->in, 8);
      hessians = recipe.sequential ? std::max(hessians, hessian) : hessians + hessian;
    }
    bytes += linears + hessians + packed;
    if (engine && recipe.calibration) {
      const auto length = static_cast<uint64_t>(recipe.calibration->length);
      // Hidden states, and from an observing pass to the advancing one what is on the way.
      auto width = static_cast<uint64_t>(request.checkpoint.spec.width);
      if (recipe.sequential && unit.observed() && unit.index < schedule.last_observed)
        width += static_cast<uint64_t>(last_observed_input(unit));
      bytes += std::min<uint64_t>(
          request.spill_budget,
          static_cast<uint64_t>(recipe.calibration->samples) * length * width * 4);
      bytes += static_cast<uint64_t>(context.threads) * length * widest * 4 * 6;
    }
    worst = std::max(worst, bytes);
  }
  const bool engine = schedule.last_observed >= 0;
  const uint64_t text =
      engine || request.checkpoint.gguf
          ? static_cast<uint64_t>(request.checkpoint.spec.vocabulary) * kBytesPerToken
          : 0;
  return std::max(worst, text) + (engine ? kWorkerBytes : kLeanBytes);
}

// What a unit costs before its weights are rounded: passes forward and statistics.
double calibration_flops(const Unit& unit, const Schedule& schedule, const Recipe& recipe) {
  const double tokens = calibration_tokens(recipe);
  double flops = 0;
  if (unit.index <= schedule.last_observed) {
    const int64_t passes =
        observing_passes(unit, recipe.sequential) + (unit.index < schedule.last_observed ? 1 : 0);
    flops += static_cast<double>(passes) * forward_flops(unit, tokens);
  }
  for (const InputGroup& group : unit.groups) flops += observe_flops(group, tokens);
  return flops;
}

}  // namespace

double total_flops(const Schedule& schedule, const Recipe& recipe, const Parts& parts) {
  double flops = 0;
  for (const Unit& unit : schedule.units) {
    flops += calibration_flops(unit, schedule, recipe);
    for (const InputGroup& group : unit.groups) flops += round_flops(group, parts);
  }
  return flops;
}

double measure_rounder(const rounder::Run& run, const Choice& choice, const Context& context) {
  const int64_t n = std::min<int64_t>(choice.out, 32), k = std::min<int64_t>(choice.in, 1024);
  const CounterRng rng(1);
  Matrix<float> w(n, k);
  for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<float>(rng.normal(i)) * 0.02f;
  const rounder::Problem problem{.name = choice.op, .weight = &w, .format = choice.format};
  Context quiet = context;
  quiet.log = [](Level, std::string_view) {};
  quiet.progress = [](const Progress&) {};
  const auto start = std::chrono::steady_clock::now();
  run(std::span(&problem, 1), {}, choice.rounder.options, quiet);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count() / static_cast<double>(n * k);
}

PlanReport estimate(const QuantizeRequest& request, const Capabilities& can,
                    const Assignment& assignment, const Schedule& schedule,
                    const ChosenLayout& layout, const Context& context) {
  const Recipe& recipe = request.recipe;
  const spec::ModelSpec& spec = request.checkpoint.spec;
  PlanReport out;
  out.layout = layout.name;
  out.parameters = spec::parameter_count(spec);

  std::map<std::string, PlanReport::Row> rows;
  double true_bits = 0, nominal = 0;
  uint64_t part_bytes = 0;
  for (const Choice& c : assignment.choices) {
    const double count = static_cast<double>(c.out) * static_cast<double>(c.in);
    PlanReport::Row& row = rows[c.format.label()];
    row.format = c.format.label();
    row.linears += 1;
    row.parameters += c.out * c.in;
    row.bytes += packed_bytes(c.format, c.out, c.in, layout.layout, c.scattered);
    part_bytes += packed_bytes(c.format, c.out, c.in, pack::Layout::halftone, c.scattered);
    out.quantized_parameters += c.out * c.in;
    true_bits += stored_bits(c.format, c.out, c.in, layout.layout, c.scattered) * count;
    nominal += static_cast<double>(c.format.bits) * count;
  }
  for (auto& [label, row] : rows) {
    out.output_bytes += row.bytes;
    out.rows.push_back(std::move(row));
  }
  PlanReport::Row dense{.format = "dense " + std::string(dtype_name(recipe.dense_dtype)),
                        .linears = static_cast<int64_t>(assignment.kept.size())};
  for (const auto& ref : dense_tensors(spec, assignment)) {
    dense.parameters += element_count(ref.shape);
    dense.bytes +=
        static_cast<uint64_t>(element_count(ref.shape) * dtype_bytes(recipe.dense_dtype));
  }
  out.output_bytes += dense.bytes;
  out.rows.push_back(dense);
  const auto weights = static_cast<double>(out.quantized_parameters);
  out.bits_per_weight = true_bits / weights;
  out.nominal_bits = nominal / weights;
  out.model_bits_per_weight =
      static_cast<double>(out.output_bytes) * 8 / static_cast<double>(out.parameters);

  const double tokens = calibration_tokens(recipe);
  const auto hidden = static_cast<uint64_t>(tokens) * static_cast<uint64_t>(spec.width) * 4;
  const uint64_t spilled = schedule.last_observed < 0 || hidden <= request.spill_budget
                               ? 0
                               : hidden - request.spill_budget;
  out.work_bytes = part_bytes + out.output_bytes + spilled;
  out.peak_memory = peak_memory(request, assignment, schedule, context);

  // Rounders that need nothing are timed as they are; the rest is operations over the measured
  // speed of a matrix product.
  std::map<std::string, double> per_weight;
  double flops = 0;
  for (const Unit& unit : schedule.units) {
    flops += calibration_flops(unit, schedule, recipe);
    for (const InputGroup& group : unit.groups) {
      if (!group.needs.empty()) {
        flops += round_flops(group, *can.parts);
        continue;
      }
      for (const Choice* c : group.linears) {
        const rounder::Run& run = can.parts->rounders.at(c->rounder.name).run;
        if (!run) continue;
        const std::string key = c->rounder.name + " " + c->format.label();
        if (!per_weight.contains(key)) per_weight[key] = measure_rounder(run, *c, context);
        out.seconds += per_weight[key] * static_cast<double>(c->out * c->in) /
                       static_cast<double>(context.threads);
      }
    }
  }
  if (flops > 0 && can.measure_gflops) {
    out.gflops = can.measure_gflops();
    out.seconds += flops / (out.gflops * 1e9);
  }
  out.seconds +=
      (static_cast<double>(out.parameters) * 4 + 4 * static_cast<double>(out.output_bytes)) /
      kLeanBytesPerSecond;
  return out;
}

}  // namespace halftone::recipe
