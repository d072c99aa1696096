// Where the damage sits: what each part of a quantized model adds to the KL, measured from both
// sides. One unit quantized alone shows what it does to a model that is otherwise whole; all but
// one quantized shows what would be won by leaving it as it was. The two agree where errors add up;
// where they interact they do not, and neither is a share of the other.
//
// Any pair of sources will do; runtime/mixed_logits.h makes them of two models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/tensor.h"
#include "halftone/eval/divergence.h"

namespace halftone::eval {

struct UnitDamage {
  double only = 0;     // KL, nats per token, with only this unit quantized
  double without = 0;  // and with all but it quantized
  // (whole - without) / whole: what leaving the unit as it was would take off the KL. Negative
  // where its error makes up for another's. 0 where the whole is 0.
  double saved = 0;
};

struct Damage {
  Divergence whole;  // of the quantized model
  std::vector<UnitDamage> units;
};

// The logits with unit `unit` alone quantized (`only`), or with all but it.
using MixedSource = std::function<std::unique_ptr<LogitSource>(size_t unit, bool only)>;

// Each mixed source is made, walked and destroyed before the next: one is in memory beside the two
// that are given. Walks the reference 2 * units + 1 times, so it should be cheap to walk again
// (runtime/hidden_states.h). Progress stage "damage", in units. Errors: those of divergence(), with
// the unit's name as a note.
Damage damage(LogitSource& reference, LogitSource& quantized, std::span<const std::string> units,
              const MixedSource& mixed, std::span<const int32_t> ids, const Protocol& protocol,
              const Context& context);

// The same for further units of a damage that was measured, on the same text.
std::vector<UnitDamage> unit_damage(LogitSource& reference, double whole_kl,
                                    std::span<const std::string> units, const MixedSource& mixed,
                                    std::span<const int32_t> ids, const Protocol& protocol,
                                    const Context& context);

// Row by row ||quantized - reference|| / ||reference||, the median over rows: what a token's hidden
// state is off by, whatever a few massive rows are. [rows, width] each.
double median_row_error(const Matrix<float>& reference, const Matrix<float>& quantized);
// The first cut whose error is above kDiverges, or nothing.
inline constexpr double kDiverges = 0.1;
std::optional<int64_t> first_divergence(std::span<const double> errors);

}  // namespace halftone::eval
