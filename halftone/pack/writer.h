// Packed folders, written: Hugging Face layout, whole or not at all.
//
// The driver hands over finished linears in block order; the writer keeps each in a part file of the work folder (so that a killed
// run loses at most one block) and assembles shards at the end: temp folder, fsync, read back, rename.
#pragma once

#include <string>

#include "halftone/base/json.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// The tensors one linear becomes under `layout`, named and shaped as its readers expect. UnsupportedError with the remedy
// when the layout cannot hold it (GPTQ: short last group, 3-bit with N not a multiple of 32 ...).
std::vector<std::pair<std::string, HostTensor>> tensors_of(const DecoratedLinear& linear, Layout layout, int64_t gptq_version = 2);
// Same refusal, before any compute.
void check_layout(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout);
// quantization_config for config.json.
Json quantization_config(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout, int64_t gptq_version = 2);

}  // namespace halftone::pack
