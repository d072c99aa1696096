// Packed folders, written: which tensors a quantized linear becomes, and what config.json says
// about it. (pack/folder.h writes the files.)
//
// Layouts, and what each can hold:
//   compressed_tensors  pack-quantized, 2 to 8 bits dense along K (version 0.18.0), scales [N, G];
//                       every group full, weights of nn.Linear
//   halftone            the same tensors under quant_method "halftone": short last groups, Conv1D
//                       weights, input scales and scattered groups (compressed-tensors had those as
//                       actorder "group" and refuses them since 0.20) as well
//   gptq                qweight, qzeros, scales, g_idx; 2, 3, 4, 8 bits, f16 scales, full groups,
//                       whole words along K and N. v1 stores zero - 1 and cannot say zero 0, so it
//                       takes symmetric formats only; v2 stores the zero itself
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// The tensors one linear becomes under `layout`, named and shaped as its readers expect.
// UnsupportedError with the remedy when the layout cannot hold it. A dense linear becomes
// <name>.weight [out, in] and <name>.bias.
std::vector<std::pair<std::string, HostTensor>> tensors_of(const DecoratedLinear& linear,
                                                           Layout layout, int64_t gptq_version = 2);

// Empty when compressed_tensors can hold the whole plan, else the first reason why not.
std::string compressed_tensors_clash(const format::Plan& plan, const spec::ModelSpec& spec);

// The refusal of tensors_of, before any compute: UnsupportedError naming the linear and the remedy.
void check_layout(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout,
                  int64_t gptq_version = 2);

// quantization_config for config.json. `scattered`: ops whose columns do not lie in groups in order
// (act-order without static groups).
Json quantization_config(const format::Plan& plan, const spec::ModelSpec& spec, Layout layout,
                         int64_t gptq_version = 2, const std::set<std::string>& scattered = {});

}  // namespace halftone::pack
