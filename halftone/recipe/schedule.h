// The order of work: units (pieces of blocks, then what comes after them), and in each the linears
// that share an input, in execution order.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "halftone/recipe/recipe.h"

namespace halftone::recipe {

struct InputGroup {
  std::vector<const Choice*> linears;  // q, k, v: rounded together, on one Hessian
  std::set<Need> needs;                // of their rounders, together
};

struct Unit {
  int64_t index = 0;  // place in the order
  int64_t block = 0;  // index into blocks; blocks.size(): the epilogue
  std::string name;   // "model.layers.3.mlp"
  spec::Segment segment;
  std::vector<InputGroup> groups;
  bool observed() const {
    for (const InputGroup& group : groups)
      if (!group.needs.empty()) return true;
    return false;
  }
};

// Pointers into `assignment`, which must outlive it.
struct Schedule {
  std::vector<Unit> units;  // every block; the epilogue only when something in it is quantized
  // last unit that needs calibration inputs: no hidden state is needed after it
  int64_t last_observed = -1;
  int64_t whole_blocks(
      int64_t units) const;  // how many blocks (and epilogue) the first `units` units finish
  int64_t blocks() const { return whole_blocks(static_cast<int64_t>(units.size())); }
};
// Where later linears see rounded earlier ones (`sequential`), a unit is a piece of a block
// (spec/pieces.h): an earlier piece is final once a later one begins, so attention, say, is not
// computed again for the MLP's passes. Otherwise a unit is a whole block.
Schedule make_schedule(const spec::ModelSpec& spec, const Assignment& assignment,
                       const Parts& parts, bool sequential);

// Floating point operations, for time estimates and progress. `tokens` over all samples.
double forward_flops(const Unit& unit, double tokens);
double observe_flops(const InputGroup& group, double tokens);
double round_flops(const InputGroup& group, const Parts& parts);
// Passes over the samples while a unit is worked on: one for each group that is observed
// (sequential) or one for all, and one more to hand its output on.
int64_t observing_passes(const Unit& unit, bool sequential);

}  // namespace halftone::recipe
