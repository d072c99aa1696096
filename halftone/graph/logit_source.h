// eval::LogitSource over the graph: the float reference, and simulated quantization. A number that
// comes from it for a quantized model says so in its label; what users are shown as the model's
// quality comes from the runtime.
//
//   auto source = graph_logits("smollm2", std::move(graph), context);
//   source->each_row(ids, 0, [](int64_t position, std::span<const float> row) { ... });
#pragma once

#include <memory>
#include <string>

#include "halftone/base/context.h"
#include "halftone/eval/logit_source.h"
#include "halftone/graph/graph.h"
#include "halftone/pack/packed_model.h"

namespace halftone::graph {

// Label: "NAME (torch, f32)", or "NAME (torch, simulated)" when linears are dequantized codes. Each
// op is shared out over context.pool (null: the calling thread alone); the bits are the same at any
// thread count. Not for concurrent calls. Memory: the model, one sequence's hidden states, and the
// logits of one call of next(). UnsupportedError for a model that has no logits; begin() throws
// InputError when ids are too many or outside the vocabulary.
std::unique_ptr<eval::LogitSource> graph_logits(std::string name,
                                                std::shared_ptr<const Graph> graph,
                                                const Context& context);

// Reads the model (dense or quantized) into a new graph.
std::unique_ptr<eval::LogitSource> graph_logits(const pack::PackedModel& model,
                                                const Context& context,
                                                const TensorOptions& options = {});

}  // namespace halftone::graph
