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
#include "halftone/eval/score.h"

namespace halftone::eval {

// What units are told apart on where nobody asks for more: their KLs are paired, so that little text
// does, and each takes a part of a pass over it.
inline constexpr int64_t kDamageWindows = 2, kDamageWindow = 256;

struct DamageUnit {
  std::string name;
  double work = 1;  // of its two walks, in a measure that all units share: for the remaining time
};

struct UnitDamage {
  double only = 0;     // KL, nats per token, with only this unit quantized
  double without = 0;  // and with all but it quantized
  // (whole - without) / whole: what leaving the unit as it was would take off the KL. Negative
  // where its error makes up for another's. 0 where the whole is 0.
  double saved = 0;
  bool operator==(const UnitDamage&) const = default;
};

// The logits with unit `unit` alone quantized (`only`), or with all but it.
using MixedSource = std::function<std::unique_ptr<LogitSource>(size_t unit, bool only)>;

// `whole_kl`: of the quantized model on the same text. The two mixed sources of a unit are made,
// walked side by side with the reference and destroyed before the next, so the reference is walked
// once a unit: it should be cheap to walk again (runtime/hidden_states.h). Units that `memory` knows
// from a run that was killed are not walked. Progress stage "damage", in work. Errors: those of
// divergence(), with the unit's name as a note.
std::vector<UnitDamage> unit_damage(LogitSource& reference, double whole_kl,
                                    std::span<const DamageUnit> units, const MixedSource& mixed,
                                    std::span<const int32_t> ids, const Protocol& protocol,
                                    const Context& context, const RunMemory& memory = {});

// Row by row ||quantized - reference|| / ||reference||, the median over rows: what a token's hidden
// state is off by, whatever a few massive rows are. [rows, width] each.
double median_row_error(const Matrix<float>& reference, const Matrix<float>& quantized);
// The first cut whose error is above kDiverges, or nothing.
inline constexpr double kDiverges = 0.1;
std::optional<int64_t> first_divergence(std::span<const double> errors);

}  // namespace halftone::eval
