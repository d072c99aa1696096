#include "halftone/recipe/block_run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <utility>

#include "halftone/files/safetensors.h"
#include "halftone/pack/writer.h"
#include "halftone/recipe/estimate.h"
#include "halftone/recipe/preflight.h"

namespace halftone::recipe {
namespace {

// Codes that equal nearest rounding's in every place are a dead hook, not luck, once there are this
// many of them.
constexpr int64_t kEnoughCodes = 1024;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

}  // namespace

BlockRun::BlockRun(const QuantizeRequest& request, const Capabilities& can,
                   const Assignment& assignment, const Schedule& schedule, pack::Layout layout,
                   const std::optional<CalibrationSet>& calibration, WorkFolder& work,
                   const Context& context)
    : request_(request),
      can_(can),
      schedule_(schedule),
      layout_(layout),
      calibration_(calibration),
      work_(work),
      context_(context),
      reader_(assignment.plan, request.checkpoint.spec) {
  if (calibration_)
    for (const auto& ids : calibration_->samples) tokens_ += static_cast<double>(ids.size());
  total_ = total_flops(schedule, request.recipe, *can.parts);
}

void BlockRun::run() {
  const auto first = static_cast<int64_t>(work_.finished().size());
  if (first <= schedule_.last_observed) start_engine();
  for (const Unit& unit : schedule_.units) {
    context_.throw_if_stopped();
    if (unit.index < first) {
      if (engine_) replay(unit);
    } else {
      if (unit.index > schedule_.last_observed) {  // the rest needs no hidden states
        hidden_.reset();
        engine_.reset();
      }
      process(unit);
    }
  }
}

void BlockRun::worked(double flops, const std::string& where) {
  done_ = std::min(total_, done_ + flops);
  context_.progress(
      {.stage = "quantize", .detail = where, .done = done_, .total = total_, .unit = ""});
}

void BlockRun::start_engine() {
  const auto& samples = calibration_->samples;
  const auto hidden_bytes = static_cast<uint64_t>(tokens_) *
                            static_cast<uint64_t>(request_.checkpoint.spec.width) * sizeof(float);
  engine_ = can_.engine(request_.spill_budget - std::min(request_.spill_budget, hidden_bytes));
  for (size_t s = 0; s < samples.size(); ++s) {
    context_.throw_if_stopped();
    Matrix<float> hidden = engine_->embed(samples[s]);
    if (!hidden_)
      hidden_ = std::make_unique<Activations>(*context_.env, work_.path(),
                                              static_cast<int64_t>(samples.size()), hidden.rows,
                                              hidden.cols, request_.spill_budget);
    hidden_->write(static_cast<int64_t>(s), std::move(hidden));
  }
  if (hidden_->spilled_bytes() > 0)
    context_.info("hidden states beyond the spill budget: " +
                  std::to_string(hidden_->spilled_bytes() >> 20) + " MiB go to " + work_.path());
}

BlockRun::Statistics BlockRun::pass(const Unit& unit, bool advance,
                                    const std::map<std::string, std::set<Need>>& observe) {
  // Engines may call from several threads, each sample from one.
  std::mutex mutex;
  const double flops = forward_flops(unit, tokens_) / static_cast<double>(hidden_->samples());
  const auto read = [&](int64_t sample) {
    context_.throw_if_stopped();
    Matrix<float> hidden = hidden_->read(sample);
    const std::lock_guard lock(mutex);
    worked(flops, unit.name);
    return hidden;
  };
  std::function<void(int64_t, Matrix<float>)> write;
  if (advance)
    write = [&](int64_t sample, Matrix<float> hidden) {
      hidden_->write(sample, std::move(hidden));
    };
  try {
    return engine_->run_block(hidden_->samples(), read, write, observe);
  } catch (Error& e) {
    e.note("block " + unit.name);
    throw;
  }
}

void BlockRun::replay(const Unit& unit) {
  const Json& record = work_.finished()[static_cast<size_t>(unit.index)];
  engine_->load(unit.segment);
  const auto part = files::open_safetensors(work_.part_path(unit.index), context_);
  for (const InputGroup& group : unit.groups)
    for (const Choice* choice : group.linears)
      engine_->set_weight(choice->op, reader_.read(*part, choice->op).codes().dequantize());
  pass(unit, true, {});
  if (record.value("hidden", "") != hidden_->hash())
    throw FileError(
        Code::mismatch, work_.path(),
        "block " + unit.name + " gives other hidden states than in the run to go on with", {},
        "--force starts over");
}

InputStatistics BlockRun::take(Statistics& all, const InputGroup& group, const Unit& unit) const {
  const std::string& op = group.linears.front()->op;
  const auto it = all.find(op);
  check(it != all.end(), "the engine did not observe what it was asked to");
  if (it->second.tokens == 0)
    throw NumericError("block " + unit.name, "no calibration token reached " + op,
                       "use more calibration text");
  return std::move(it->second);
}

void BlockRun::process(const Unit& unit) {
  part_.clear();
  reports_.clear();
  if (engine_) engine_->load(unit.segment);
  const auto wanted = [](const InputGroup& group) {
    return std::pair(group.linears.front()->op, group.needs);
  };
  Statistics together;
  if (!request_.recipe.sequential && unit.observed()) {
    std::map<std::string, std::set<Need>> observe;
    for (const InputGroup& group : unit.groups)
      if (!group.needs.empty()) observe.insert(wanted(group));
    together = pass(unit, false, observe);
  }
  for (const InputGroup& group : unit.groups) {
    context_.throw_if_stopped();
    InputStatistics statistics;
    if (!group.needs.empty()) {
      if (request_.recipe.sequential) together = pass(unit, false, {wanted(group)});
      statistics = take(together, group, unit);
      worked(observe_flops(group, tokens_), unit.name);
    }
    round_group(unit, group, std::move(statistics));
    worked(round_flops(group, *can_.parts), unit.name);
  }
  Json record = {{"name", unit.name}, {"layers", Json::array()}};
  if (engine_ && unit.index < schedule_.last_observed) {
    pass(unit, true, {});
    record["hidden"] = hidden_->hash();
  }
  for (const LayerReport& report : reports_) record["layers"].push_back(to_json(report));
  work_.add_part(unit.index, part_, std::move(record));
}

const rounder::Run& BlockRun::rounder_run(const std::string& name) const {
  const rounder::Entry& entry = can_.parts->rounders.at(name);
  return entry.run ? entry.run : *can_.run(name);
}

// In pieces, so that no second copy of a large weight exists.
Matrix<float> BlockRun::read_weight(const std::string& op) const {
  const auto& linear = std::get<spec::Linear>(spec::find_op(request_.checkpoint.spec, op)->params);
  Matrix<float> out(linear.out, linear.in);
  read_in_pieces(
      *request_.checkpoint.tensors, linear.weight, [&](int64_t first, const HostTensor& piece) {
        const HostTensor wide = piece.dtype() == DType::f32 ? HostTensor() : to_f32(piece);
        const auto values = piece.dtype() == DType::f32 ? piece.as<float>() : wide.as<float>();
        if (!linear.weight.transposed) {
          std::copy(values.begin(), values.end(), out.data.begin() + first * linear.in);
          return;
        }
        const int64_t rows = static_cast<int64_t>(values.size()) / linear.out;
        for (int64_t k = 0; k < rows; ++k)
          for (int64_t n = 0; n < linear.out; ++n)
            out.at(n, first + k) = values[static_cast<size_t>(k * linear.out + n)];
      });
  return out;
}

void BlockRun::round_group(const Unit& unit, const InputGroup& group, InputStatistics statistics) {
  // Overrides may give linears of one group different rounders: each has its own call, and all but
  // the last a copy of the statistics, because a rounder factorises the Hessian in place.
  std::vector<std::vector<const Choice*>> calls;
  for (const Choice* choice : group.linears) {
    const auto same = std::find_if(calls.begin(), calls.end(), [&](const auto& call) {
      return call.front()->rounder == choice->rounder;
    });
    same == calls.end() ? calls.push_back({choice}) : same->push_back(choice);
  }
  std::map<std::string, rounder::Result> results;
  for (size_t c = 0; c < calls.size(); ++c) {
    const Part& part = calls[c].front()->rounder;
    const auto needs = rounder::needs_of(can_.parts->rounders.at(part.name), part.options);
    std::vector<Matrix<float>> weights;
    std::vector<rounder::Problem> problems;
    for (const Choice* choice : calls[c]) weights.push_back(read_weight(choice->op));
    for (size_t i = 0; i < weights.size(); ++i)
      problems.push_back(
          {.name = calls[c][i]->op, .weight = &weights[i], .format = calls[c][i]->format});
    InputStatistics mine;
    if (!needs.empty()) {
      const bool last = std::none_of(
          calls.begin() + static_cast<std::ptrdiff_t>(c) + 1, calls.end(), [&](const auto& call) {
            const Part& later = call.front()->rounder;
            return !rounder::needs_of(can_.parts->rounders.at(later.name), later.options).empty();
          });
      if (last) {
        mine = std::exchange(statistics, {});
      } else {
        mine = statistics;
        if (mine.hessian) mine.hessian = std::make_shared<Matrix<double>>(*mine.hessian);
      }
    }
    std::vector<rounder::Result> out;
    try {
      out = rounder_run(part.name)(problems, std::move(mine), part.options, context_);
    } catch (Error& e) {
      e.note("block " + unit.name + ", rounder " + part.name);
      throw;
    }
    check(out.size() == problems.size(),
          "a rounder returned another number of results than problems");
    weights.clear();  // before each result is dequantized for the engine
    for (size_t i = 0; i < out.size(); ++i) {
      const bool may_equal_nearest =
          out[i].diagonal_hessian || !needs.contains(Need::input_hessian);
      accept(*calls[c][i], std::move(out[i]), may_equal_nearest);
    }
  }
}

void BlockRun::accept(const Choice& choice, rounder::Result result, bool may_equal_nearest) {
  const format::Codes& codes = result.codes;
  check(codes.rows == choice.out && codes.cols == choice.in && codes.format == choice.format,
        "a rounder returned codes of another shape or format");
  if (!std::isfinite(result.error) || !std::isfinite(result.nearest_error))
    throw NumericError("linear " + choice.op,
                       "rounder " + choice.rounder.name + " reports an error that is not finite");
  if (!may_equal_nearest && result.fallback.empty() && result.error == result.nearest_error &&
      result.error > 0 && choice.out * choice.in >= kEnoughCodes)
    throw NumericError(
        "linear " + choice.op,
        "rounder " + choice.rounder.name +
            " lost exactly what nearest rounding loses: its calibration did not reach it");
  if (result.clamped_scales > 0)
    context_.warn(choice.op + ": " + std::to_string(result.clamped_scales) +
                  " scales do not fit into " + std::string(dtype_name(choice.format.scale_dtype)) +
                  " and were clamped");
  if (!result.fallback.empty()) {
    if (request_.strict)
      throw NumericError("linear " + choice.op,
                         "rounder " + choice.rounder.name + " fell back: " + result.fallback);
    context_.warn(choice.op + ": nearest rounding instead of " + choice.rounder.name + ": " +
                  result.fallback);
  }
  LayerReport report{.op = choice.op,
                     .rounder = choice.rounder.name,
                     .format = choice.format,
                     .bits_per_weight = stored_bits(choice.format, choice.out, choice.in, layout_,
                                                    !codes.column_group.empty()),
                     .error = result.error,
                     .nearest_error = result.nearest_error,
                     .damping = result.damping,
                     .dead_columns = result.dead_columns,
                     .clamped_scales = result.clamped_scales,
                     .scattered = !codes.column_group.empty(),
                     .refitted = result.refitted,
                     .fallback = result.fallback};
  context_.log(
      Level::detail,
      choice.op + "  " + choice.format.label() + "  error " + number(report.error) +
          "  ratio to nearest " + number(report.ratio()) +
          (report.damping > 0 ? "  damping " + number(report.damping) : "") +
          (report.refitted ? "  grids fitted on the way" : "") +
          (report.dead_columns > 0 ? "  dead columns " + std::to_string(report.dead_columns) : "") +
          (report.clamped_scales > 0 ? "  clamped scales " + std::to_string(report.clamped_scales)
                                     : ""));
  if (engine_) engine_->set_weight(choice.op, codes.dequantize());
  pack::DecoratedLinear linear{.name = choice.op,
                               .out = choice.out,
                               .in = choice.in,
                               .input_scale = {},
                               .weight = std::move(result.codes),
                               .bias = {}};
  for (auto& named : pack::tensors_of(linear, pack::Layout::halftone))
    part_.push_back(std::move(named));
  reports_.push_back(std::move(report));
}

}  // namespace halftone::recipe
