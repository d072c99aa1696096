// A family file assembles ops and names their tensors. One file each, one function: `Family
// llama();`.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/entries.h"
#include "halftone/base/json.h"
#include "halftone/base/tensor.h"
#include "halftone/spec/model_spec.h"

namespace halftone::files {
struct GgufFile;  // halftone/files/gguf.h: metadata and tensor table
}

namespace halftone::spec {

// Where GGUF keeps a Hugging Face tensor, and what was done to it on the way in.
struct GgufTensor {
  std::string name;  // "blk.0.attn_q.weight"
  enum class Undo : uint8_t { none, unpermute_rope, transpose } undo = Undo::none;
  int64_t heads = 0;  // for unpermute_rope: heads of q, kv heads of k
};

struct Family {
  std::string summary;
  std::vector<std::string> architectures;  // config.json "architectures": "LlamaForCausalLM"
  std::vector<std::string> model_types;    // config.json "model_type", when architectures is absent
  std::vector<std::string> gguf_architectures;  // general.architecture
  // Module prefixes that some checkpoints carry and others drop ("transformer.", "bert."): a tensor
  // is found either way.
  std::vector<std::string> prefixes;
  bool spec_has_prefix = false;  // which of the two forms the spec's names have
  // Tensors that real checkpoints hold and the spec rightly leaves out (masks, tables that are
  // computed, heads of other tasks), under the spec's names or GGUF's: "*.rotary_emb.inv_freq",
  // "cls.*". Any other tensor that is not used is warned of or refused (spec/unused_tensors.h).
  std::vector<std::string> harmless;
  // config.json -> ops. FileError naming `path` for every value that is missing or makes no sense.
  std::function<ModelSpec(const Json& config, const std::string& path)> assemble;
  // GGUF metadata -> the config.json it stands for.
  std::function<Json(const files::GgufFile& file)> config_from_gguf;
  std::function<std::optional<GgufTensor>(const std::string& hf_name, const Json& config)>
      gguf_tensor;
};

std::span<const Named<Family>> entries();  // generated from spec/family/*.cc

// The family for a config.json; FileError{E_VALUE} lists what is known when there is none.
const Named<Family>& family_for(const Json& config, const std::string& path);

}  // namespace halftone::spec
