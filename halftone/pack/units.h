// The parts of a quantized model that damage is laid at: a block, a role in all blocks, a single
// linear, the embedding, the head. Each is a set of ops that mixed_model.h can take from one model
// or the other.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

struct Unit {
  enum class Kind : uint8_t { block, role, table, linear } kind = Kind::block;
  std::string name;  // "model.layers.3", "mlp_down", "head", "model.layers.3.mlp.down_proj"
  std::set<std::string> ops;
  uint64_t bytes = 0;         // its linears and tables take in the quantized model
  uint64_t bytes_8bit = 0;    // and would take at 8 bits, a scale of 16 bits a row
  int64_t first_segment = 0;  // of its ops: -1 prologue, 0.. blocks, blocks() epilogue
};
std::string_view unit_kind_name(Unit::Kind kind);  // "block", "role", "table", "linear"

// Is an op's storage another one than in the reference: quantized, or a tensor of another type?
bool differs(const PackedModel& reference, const PackedModel& quantized, const spec::Op& op);

// Blocks in order, roles in the order of the first block, tables; those only in which something
// differs. A block, and the head with the last norm, holds its norms too: factors that were folded
// from one op into another of the same block (smoothing, AWQ) stay together. Where the head is tied
// to the embedding in either model, the two are one table.
std::vector<Unit> units(const PackedModel& reference, const PackedModel& quantized);
// The linears of one unit that differ, each a unit of its own.
std::vector<Unit> linears_of(const Unit& unit, const PackedModel& reference,
                             const PackedModel& quantized);

// Over the norms, the largest ||w_q - w|| / ||w|| of their weights. Where it is more than rounding to
// 16 bits makes, factors were folded into norms: a single linear of one model does not fit beside
// those of the other, whole blocks do. Of two models that check_mixable lets pass.
double norm_difference(const PackedModel& reference, const PackedModel& quantized);

}  // namespace halftone::pack
