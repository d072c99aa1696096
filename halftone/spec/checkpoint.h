// A model as it lies on disk: config, ops, tensors under their Hugging Face names, and where the
// text side is.
//
//   Checkpoint c = open_checkpoint("smollm2", context);     // a name, a folder, a .gguf
//   for (auto& ref : spec::linears(c.spec))
//     HostTensor W = c.tensors->read(ref.linear().weight.name);
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/files/tensor_source.h"
#include "halftone/spec/model_spec.h"

namespace halftone::files {
struct GgufFile;
}

namespace halftone::spec {

struct Checkpoint {
  std::string name;  // as the user wrote it
  std::string path;  // folder or .gguf that it resolved to
  Json config;       // Hugging Face config.json, also for GGUF
  ModelSpec spec;
  // Dense weights under the spec's names. For a quantized folder only what is stored densely: the
  // rest is read through pack::PackedModel.
  std::shared_ptr<const files::TensorSource> tensors;
  // set when the model is a GGUF file: the tokenizer is in its metadata
  std::shared_ptr<const files::GgufFile> gguf;
  // quantization_of(config) says something (GPTQ's quantize_config.json is put there)
  bool quantized = false;
};

// What a config.json says about quantization (quantization_config, older: compression_config); null
// when nothing.
const Json* quantization_of(const Json& config);

// Resolves `model` (a folder, a .gguf, a hub name in the local cache, `smollm2`, `smollm2-fp`),
// reads headers, assembles the spec and checks that every tensor of the spec is there with its
// shape. Errors name the file and the remedy.
Checkpoint open_checkpoint(const std::string& model, const Context& context);

// The same for a path that is known to be GGUF (spec/gguf_checkpoint.cc).
Checkpoint open_gguf(const std::string& model, const std::string& path, const Context& context);

// Of an open GGUF: tensors of the same names and shapes as checkpoint.tensors, with the distance
// between the values that each weight may have in place of the weight (files::BlockType::steps).
std::shared_ptr<const files::TensorSource> gguf_steps(const Checkpoint& checkpoint);

}  // namespace halftone::spec
