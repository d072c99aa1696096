// recipe::BlockEngine on libtorch: one segment in memory, samples in parallel, each on one thread.
//
//   auto engine = calib::torch_engine(checkpoint, context);
//   engine->load(checkpoint.spec.blocks[0]);
//   auto stats = engine->run_block(
//       n, read, write, {{"model.layers.0.mlp.down_proj", {Need::input_hessian}}});
//
// Same bytes at any thread count: a sample's arithmetic happens on one thread with one-thread BLAS,
// and statistics take the samples in order. `read` and `write` are called from the calling thread,
// in sample order, `write(i)` after `read(i)`; so the driver may spill to disk without locks, and
// may replace sample i in place. When `write` is empty, only the ops that the observed inputs need
// are run: observing q, k and v costs one norm. Linears that read one value get one Hessian, shared
// by pointer.
//
// Memory: the segment in f32, the Hessians asked for, and for the samples in flight (as many as
// threads, fewer when their captured inputs would pass `capture_bytes`) inputs, outputs and the
// widest intermediates. Up to `keep_bytes` more for where an observing pass stopped: an advancing
// pass goes on from there, unless a weight before it was changed since, and computes only the rest.
#pragma once

#include <cstdint>
#include <memory>

#include "halftone/base/context.h"
#include "halftone/graph/parameters.h"
#include "halftone/recipe/block_engine.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::calib {

struct EngineOptions {
  int64_t capture_bytes = int64_t{384} << 20;  // two samples of 2048 tokens of a 7B LLaMA
  int64_t keep_bytes = 0;
  // Where blocks are computed, in f32. Embeddings and statistics stay on the CPU.
  graph::TensorOptions tensors;
};

// `context` must outlive the engine. Errors of a run name the block; NumericError when an output is
// not finite.
std::unique_ptr<recipe::BlockEngine> torch_engine(spec::Checkpoint checkpoint,
                                                  const Context& context,
                                                  const EngineOptions& options = {});

}  // namespace halftone::calib
