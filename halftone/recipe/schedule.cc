#include "halftone/recipe/schedule.h"

#include <algorithm>
#include <map>

#include "halftone/spec/pieces.h"

namespace halftone::recipe {
namespace {

const spec::Op* op_in(const spec::Segment& segment, const std::string& name) {
  for (const spec::Op& op : segment.ops)
    if (op.name == name) return &op;
  return nullptr;
}

Unit make_unit(int64_t index, int64_t block, const spec::Segment& segment,
               const Assignment& assignment, const Parts& parts) {
  Unit unit{.index = index, .block = block, .name = segment.name, .segment = segment, .groups = {}};
  std::vector<spec::View> inputs;
  for (const Choice& choice : assignment.choices) {
    if (choice.segment != block) continue;
    const spec::Op* op = op_in(segment, choice.op);
    if (op == nullptr) continue;  // in another piece
    check(op->in.size() == 1, "a linear has one input");
    const auto at = std::find(inputs.begin(), inputs.end(), op->in[0]);
    const auto g = static_cast<size_t>(at - inputs.begin());
    if (at == inputs.end()) {
      inputs.push_back(op->in[0]);
      unit.groups.emplace_back();
    }
    unit.groups[g].linears.push_back(&choice);
    const auto needs =
        rounder::needs_of(parts.rounders.at(choice.rounder.name), choice.rounder.options);
    unit.groups[g].needs.insert(needs.begin(), needs.end());
  }
  return unit;
}

}  // namespace

Schedule make_schedule(const spec::ModelSpec& spec, const Assignment& assignment,
                       const Parts& parts, bool sequential) {
  Schedule out;
  const auto next = [&] { return static_cast<int64_t>(out.units.size()); };
  const auto blocks = static_cast<int64_t>(spec.blocks.size());
  for (int64_t b = 0; b < blocks; ++b) {
    const spec::Segment& block = spec.blocks[static_cast<size_t>(b)];
    Unit whole = make_unit(next(), b, block, assignment, parts);
    if (!sequential || !whole.observed()) {
      out.units.push_back(std::move(whole));
      continue;
    }
    for (const spec::Segment& piece : spec::pieces(block, spec.width))
      out.units.push_back(make_unit(next(), b, piece, assignment, parts));
  }
  Unit last = make_unit(next(), blocks, spec.epilogue, assignment, parts);
  if (last.name.empty()) last.name = "epilogue";
  if (!last.groups.empty()) out.units.push_back(std::move(last));
  for (const Unit& unit : out.units)
    if (unit.observed()) out.last_observed = unit.index;
  return out;
}

int64_t Schedule::whole_blocks(int64_t finished) const {
  int64_t count = 0;
  for (int64_t i = 0; i < finished; ++i) {
    const auto at = static_cast<size_t>(i);
    count += at + 1 == units.size() || units[at + 1].block != units[at].block;
  }
  return count;
}

double forward_flops(const Unit& unit, double tokens) {
  return 2 * spec::multiply_adds(unit.segment) * tokens;
}

double observe_flops(const InputGroup& group, double tokens) {
  if (!group.needs.contains(Need::input_hessian)) return 0;
  const auto k = static_cast<double>(group.linears.front()->in);
  return k * k * tokens;  // one triangle of x x^T
}

double round_flops(const InputGroup& group, const Parts& parts) {
  double flops = 0;
  for (const Choice* choice : group.linears) {
    const rounder::Entry& entry = parts.rounders.at(choice->rounder.name);
    const auto n = static_cast<double>(choice->out), k = static_cast<double>(choice->in);
    flops += entry.flops                                 ? entry.flops(choice->out, choice->in)
             : entry.needs.contains(Need::input_hessian) ? n * k * k
                                                         : 50 * n * k;
  }
  const auto k = static_cast<double>(group.linears.front()->in);
  return flops + (group.needs.contains(Need::input_hessian)
                      ? 2 * k * k * k
                      : 0);  // two factorisations and an inverse, once
}

int64_t observing_passes(const Unit& unit, bool sequential) {
  if (!unit.observed()) return 0;
  if (!sequential) return 1;
  return std::count_if(unit.groups.begin(), unit.groups.end(),
                       [](const InputGroup& group) { return !group.needs.empty(); });
}

}  // namespace halftone::recipe
