// What a ModelSpec becomes at load: per segment a list of steps over numbered buffers. Internal to
// runtime/.
//
// Four things are decided here, once: linears that read one value run as one step (q, k, v; gate
// and up: one barrier, one preparation of the input); elementwise ops behind them belong to that
// step; other ops that work row by row are chained, so that a row stays in the first cache; and
// values share buffers when their lifetimes allow.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "halftone/kernel/activations.h"
#include "halftone/kernel/tiles.h"
#include "halftone/pack/decorated_linear.h"
#include "halftone/runtime/model.h"
#include "halftone/runtime/row_table.h"
#include "halftone/spec/model_spec.h"

namespace halftone::runtime {

// Columns of a buffer. Heads as in spec::View.
struct Operand {
  int32_t slot = 0;
  int64_t offset = 0, width = 0, head_stride = 0;
  bool segment_input = false;  // rows start where the caller of the segment says (the epilogue runs
                               // on some rows only)
};
inline constexpr int32_t kOutputSlot = -1;  // logits: memory of the caller

struct EmbedOp {
  spec::Embed::Index index = spec::Embed::Index::token;
  std::shared_ptr<const RowTable> table;
  float scale = 1;
  int64_t offset = 0;
};
struct NormOp {
  spec::Norm::Kind kind = spec::Norm::Kind::rms;
  int64_t width = 0;
  float eps = 0;
  // As wide as one slice, or as the value: then every slice has its own. The weight is ones where
  // the model has none, weight_offset is added to it; the bias may be empty.
  std::vector<float> weight, bias;
};
struct ActivationOp {
  spec::Activation::Kind kind = spec::Activation::Kind::silu;
};
struct AddOp {};
struct MultiplyOp {};

struct RowOp {
  std::variant<EmbedOp, NormOp, ActivationOp, AddOp, MultiplyOp> op;
  Operand a, b, out;
};
struct RowStep {
  std::vector<RowOp> ops;
};

// What happens to the input of a linear before its codes see it: columns gathered (scattered groups
// sorted, groups padded to whole lines; -1 is a zero) and scaled.
struct InputTransform {
  std::vector<int32_t> gather;  // empty: as it is
  std::vector<float> scale;     // by input column; empty: 1
  bool empty() const { return gather.empty() && scale.empty(); }
  bool operator==(const InputTransform&) const = default;
};
struct Preparation {
  kernel::ActivationPlan plan;
  InputTransform transform;
  bool operator==(const Preparation&) const = default;
};
struct LinearJob {
  std::shared_ptr<const kernel::TiledWeights> weights;
  std::vector<float> bias;
  size_t preparation = 0;
  Operand out;
};
struct LinearStep {
  Operand in;
  int64_t input = -1;  // number of the value, over prologue and blocks; -1: of the epilogue
  std::vector<std::string> ops;  // names, one a job
  std::vector<Preparation> preparations;
  std::vector<LinearJob> jobs;
  // Elementwise ops that follow, done by each worker on the columns that it has computed (SwiGLU
  // behind gate and up, the residual behind o and down): all as wide as each other and as the jobs
  // whose outputs they read.
  std::vector<RowOp> epilogue;
};

struct AttentionStep {
  spec::Attention attention;
  Operand q, k, v, out;
  int64_t layer = 0;  // index into Program::layers, or ::bidirectional
  int32_t rope = -1;  // index into Program::ropes
};

struct PoolStep {
  spec::Pool::Kind kind = spec::Pool::Kind::first;
  Operand in, out;
};

struct Step {
  std::variant<RowStep, LinearStep, AttentionStep, PoolStep> what;
  bool pooled = false;  // one row for each sequence
};

struct SegmentProgram {
  std::vector<Step> steps;
  Operand in, out;
  bool pooled_out = false;
};

struct KvShape {
  int64_t heads = 0, dim = 0;
  bool operator==(const KvShape&) const = default;
};

struct Program {
  SegmentProgram prologue, epilogue;
  std::vector<SegmentProgram> blocks;
  std::vector<int64_t> slot_widths;  // floats
  std::vector<spec::Rope> ropes;     // each kind once
  std::vector<KvShape> layers;       // causal attentions, in order
  std::vector<KvShape>
      bidirectional;  // shapes of the others, each once: they keep nothing between calls
};

// Compiles and loads. Adds to `memory`. `in_memory` may be empty.
std::unique_ptr<Program> compile(const pack::PackedModel& packed, const LoadOptions& options,
                                 const TilesInMemory& in_memory, const Context& context,
                                 MemoryUse& memory);

// The weights of one linear, tiled; and how its input must be prepared.
struct TiledLinear {
  std::shared_ptr<const kernel::TiledWeights> weights;
  Preparation preparation;
  std::vector<float> bias;
};
// All of a program's, by the op's name.
std::map<std::string, TiledLinear> tiled_linears(const Program& program);
TiledLinear tile_linear(const pack::PackedModel& packed, const spec::Op& op,
                        const LoadOptions& options, kernel::TileBuild build);
// How activations meet these weights.
kernel::ActivationPlan plan_for(const kernel::Tiles& view, spec::Role role,
                                const LoadOptions& options);

}  // namespace halftone::runtime
