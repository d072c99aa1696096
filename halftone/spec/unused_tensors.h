// What a checkpoint holds beyond its spec. A tensor that is left out silently is a wrong model that
// runs: layers past the last one of the config, a bias that no key of the config announced.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/files/tensor_source.h"
#include "halftone/spec/family.h"

namespace halftone::spec {

// The spec as the file's own names say it (Hugging Face's or GGUF's).
struct TensorUse {
  std::string config;             // the file that describes the model
  std::string block_prefix;       // "model.layers.", "blk.": a block's number follows
  std::string block_key;          // "num_hidden_layers", "llama.block_count"
  int64_t blocks = 0;             // its value
  std::set<std::string> used;     // tensors that the spec reads
  std::set<std::string> modules;  // what owns tensors: "model.layers.0.self_attn.q_proj"
  std::set<std::string> linears;  // those of them that a quantized folder may keep in packed parts
  std::set<std::string> tied;     // tensors that repeat one the spec reads elsewhere
  bool quantized = false;
};

TensorUse tensor_use(const ModelSpec& spec);  // under the spec's own names; blocks and prefix too

// Goes over every tensor that is not used:
//  - of a block past the last one: FileError{mismatch};
//  - named by `harmless` (names; a * in front or behind stands for anything), tied, a bias of
//    zeros, or a part that the packed reader takes: nothing;
//  - of a module that the spec has: FileError{mismatch};
//  - any other: one warning with the first name and the count.
void check_unused(const TensorUse& use, const std::vector<std::string>& harmless,
                  const files::TensorSource& tensors, const Context& context);

}  // namespace halftone::spec
