#include "halftone/pack/units.h"

#include <algorithm>
#include <cmath>

#include "halftone/pack/compression.h"

namespace halftone::pack {
namespace {

using format::Port;
using spec::Op;

uint64_t bytes_at_8_bits(const Op& op) {
  constexpr int64_t kScaleBits = 16;
  if (const auto* l = std::get_if<spec::Linear>(&op.params))
    return static_cast<uint64_t>(l->out * l->in + l->out * kScaleBits / 8);
  if (const auto* e = std::get_if<spec::Embed>(&op.params))
    return static_cast<uint64_t>(element_count(e->table.shape) +
                                 e->table.shape[0] * kScaleBits / 8);
  return 0;
}

// The tensor that an op is mostly made of, or nothing.
const spec::TensorRef* main_tensor(const Op& op) {
  if (const auto* l = std::get_if<spec::Linear>(&op.params)) return &l->weight;
  if (const auto* e = std::get_if<spec::Embed>(&op.params)) return &e->table;
  return nullptr;
}

bool has_tensors(const Op& op) {
  return main_tensor(op) != nullptr || std::holds_alternative<spec::Norm>(op.params);
}

class Builder {
 public:
  Builder(const PackedModel& reference, const PackedModel& quantized)
      : reference_(reference), quantized_(quantized) {}
  // Adds an op, which tells something only where it differs.
  void add(Unit& unit, const Op& op, int64_t segment) {
    if (!has_tensors(op)) return;
    if (unit.ops.empty()) unit.first_segment = segment;
    unit.first_segment = std::min(unit.first_segment, segment);
    unit.ops.insert(op.name);
    const spec::TensorRef* tensor = main_tensor(op);
    if (tensor == nullptr || !differs(reference_, quantized_, op)) return;
    differing_ = true;
    if (!counted_.insert(tensor->name).second) return;  // a tied table, twice
    unit.bytes += stored_bytes(quantized_, op);
    unit.bytes_8bit += bytes_at_8_bits(op);
  }
  void finish(Unit unit, std::vector<Unit>& out) {
    if (differing_) out.push_back(std::move(unit));
    differing_ = false;
    counted_.clear();
  }

 private:
  const PackedModel& reference_;
  const PackedModel& quantized_;
  std::set<std::string> counted_;
  bool differing_ = false;
};

}  // namespace

std::string_view unit_kind_name(Unit::Kind kind) {
  switch (kind) {
    case Unit::Kind::block:
      return "block";
    case Unit::Kind::role:
      return "role";
    case Unit::Kind::table:
      return "table";
    case Unit::Kind::linear:
      break;
  }
  return "linear";
}

bool differs(const PackedModel& reference, const PackedModel& quantized, const Op& op) {
  if (quantized.plan().find(op.name, Port::weight) != nullptr) return true;
  const Op* theirs = spec::find_op(reference.checkpoint().spec, op.name);
  if (theirs == nullptr || main_tensor(op) == nullptr) return false;
  const auto* here = quantized.checkpoint().tensors->find(main_tensor(op)->name);
  const auto* there = reference.checkpoint().tensors->find(main_tensor(*theirs)->name);
  return here != nullptr && there != nullptr && here->stored_as != there->stored_as;
}

std::vector<Unit> units(const PackedModel& reference, const PackedModel& quantized) {
  const spec::ModelSpec& spec = quantized.checkpoint().spec;
  const auto blocks = std::ssize(spec.blocks);
  std::vector<Unit> out;
  Builder builder(reference, quantized);
  for (int64_t b = 0; b < blocks; ++b) {
    const spec::Segment& block = spec.blocks[static_cast<size_t>(b)];
    Unit unit{.kind = Unit::Kind::block, .name = block.name, .ops = {}};
    for (const Op& op : block.ops) builder.add(unit, op, b);
    builder.finish(std::move(unit), out);
  }
  std::vector<spec::Role> roles;
  const auto linears = spec::linears(spec);
  for (const auto& ref : linears)
    if (ref.segment >= 0 && ref.segment < blocks &&
        std::find(roles.begin(), roles.end(), ref.linear().role) == roles.end())
      roles.push_back(ref.linear().role);
  for (const spec::Role role : roles) {
    Unit unit{.kind = Unit::Kind::role, .name = std::string(spec::role_name(role)), .ops = {}};
    for (const auto& ref : linears)
      if (ref.segment >= 0 && ref.segment < blocks && ref.linear().role == role)
        builder.add(unit, *ref.op, ref.segment);
    builder.finish(std::move(unit), out);
  }
  const bool tied = spec.tied_head || reference.checkpoint().spec.tied_head;
  Unit table{
      .kind = Unit::Kind::table, .name = tied ? "embedding and head" : "embedding", .ops = {}};
  for (const Op& op : spec.prologue.ops) builder.add(table, op, -1);
  if (!tied) {
    builder.finish(std::move(table), out);
    table = {.kind = Unit::Kind::table, .name = "head", .ops = {}};
  }
  for (const Op& op : spec.epilogue.ops) builder.add(table, op, blocks);
  builder.finish(std::move(table), out);
  return out;
}

std::vector<Unit> linears_of(const Unit& unit, const PackedModel& reference,
                             const PackedModel& quantized) {
  std::vector<Unit> out;
  Builder builder(reference, quantized);
  for (const auto& ref : spec::linears(quantized.checkpoint().spec)) {
    if (!unit.ops.contains(ref.op->name)) continue;
    Unit linear{.kind = Unit::Kind::linear, .name = ref.op->name, .ops = {}};
    builder.add(linear, *ref.op, ref.segment);
    builder.finish(std::move(linear), out);
  }
  return out;
}

double norm_difference(const PackedModel& reference, const PackedModel& quantized) {
  double worst = 0;
  const auto ours = spec::segments(reference.checkpoint().spec),
             theirs = spec::segments(quantized.checkpoint().spec);
  for (size_t s = 0; s < ours.size(); ++s)
    for (size_t i = 0; i < ours[s]->ops.size(); ++i) {
      const auto *a = std::get_if<spec::Norm>(&ours[s]->ops[i].params),
                 *b = std::get_if<spec::Norm>(&theirs[s]->ops[i].params);
      if (a == nullptr || b == nullptr || !a->weight || !b->weight) continue;
      const HostTensor x = to_f32(reference.tensor(*a->weight)),
                       y = to_f32(quantized.tensor(*b->weight));
      const auto xs = x.as<float>(), ys = y.as<float>();
      double square = 0, apart = 0;
      for (size_t k = 0; k < std::min(xs.size(), ys.size()); ++k) {
        const double p = static_cast<double>(xs[k]) + a->weight_offset,
                     q = static_cast<double>(ys[k]) + b->weight_offset;
        square += p * p;
        apart += (p - q) * (p - q);
      }
      if (square > 0) worst = std::max(worst, std::sqrt(apart / square));
    }
  return worst;
}

}  // namespace halftone::pack
