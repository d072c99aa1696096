// What config.json says about quantization, whoever wrote it: one answer per module. Config only,
// no tensors.
//
//   quant_method          what is understood of it
//   "compressed-tensors"  config_groups with targets, ignore, presets; formats pack-quantized,
//                         int-quantized, dense
//   "halftone"            the same, and groups that leave a short last one, scattered groups, input
//                         scales
//   "gptq"                bits, group_size, sym, dynamic; checkpoint_format gptq (v1: zeros minus
//                         one) or gptq_v2
// Everything else is recognised and refused by name: UnsupportedError with what works instead.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/format/format.h"
#include "halftone/pack/module_match.h"
#include "halftone/spec/model_spec.h"

namespace halftone::files {
class ConfigReader;
}

namespace halftone::pack {

enum class Storage : uint8_t {
  packed,  // weight_packed, weight_scale, weight_shape: compressed-tensors
  int8,    // weight i8, weight_scale: compressed-tensors int-quantized
  gptq,    // qweight, qzeros, scales
};

// How one linear is stored. format.scale_dtype is not known before the tensors are seen.
struct Scheme {
  Storage storage = Storage::packed;
  format::Format weights;
  // activations as the file's makers ran them (int8 per token); the runtime has its own
  std::optional<format::Format> input;
  bool operator==(const Scheme&) const = default;
};

class QuantizationConfig {
 public:
  // `config` is the value of quantization_config (or quantize_config.json); `path` names the file
  // in errors.
  QuantizationConfig(const Json& config, std::string path);

  const std::string& method() const { return method_; }  // "compressed-tensors", "halftone", "gptq"
  // Empty: the module stays dense.
  std::optional<Scheme> scheme(const std::string& module, const spec::Linear& linear) const;
  // 3, 5, 6, 7 bits of compressed-tensors: the layout that `version` stands for, where a tensor's
  // width does not tell.
  std::optional<bool> padded_words() const { return padded_words_; }
  int64_t gptq_version() const { return gptq_version_; }
  const std::vector<std::string>& remarks() const {
    return remarks_;
  }  // for the log: what was seen and is not applied

 private:
  struct Target {
    std::string name;  // exact module or class name
    std::optional<ModuleRegex> regex;
  };
  struct Group {
    std::vector<Target> targets;
    std::optional<Scheme> scheme;  // empty: UNQUANTIZED
  };
  struct Override {
    ModuleRegex regex;
    std::optional<Scheme> scheme;  // empty: skip
  };
  void read_compressed_tensors(const files::ConfigReader& config);
  void read_gptq(const files::ConfigReader& config);
  std::vector<Target> read_targets(const files::ConfigReader& config, const std::string& key) const;

  std::string path_, method_;
  std::vector<Group> groups_;
  std::vector<Target> ignore_;
  std::vector<Override> overrides_;  // gptq `dynamic`, in file order
  std::optional<Scheme> gptq_;
  bool gptq_head_ = false;
  std::optional<bool> padded_words_;
  int64_t gptq_version_ = 1;
  std::vector<std::string> remarks_;
};

}  // namespace halftone::pack
