// GGUF metadata as a family sees it: keys of its own architecture, without the "llama." in front.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::files {
struct GgufFile;
}

namespace halftone::spec {

class GgufArchitecture {
 public:
  explicit GgufArchitecture(const files::GgufFile& file);
  bool has(std::string_view key) const;
  // E_MISSING without a default, E_TYPE for another type. Arrays are taken when all elements are
  // equal (one value per layer).
  int64_t integer(std::string_view key, std::optional<int64_t> absent = {}) const;
  double number(std::string_view key, std::optional<double> absent = {})
      const;  // shortest decimal of the f32 in the file
  std::string text(std::string_view key, std::optional<std::string> absent = {}) const;
  bool boolean(std::string_view key, std::optional<bool> absent = {}) const;
  int64_t vocabulary() const;  // rows of token_embd.weight
  int64_t rows(const std::string& tensor, int64_t absent) const;
  bool has_tensor(const std::string& name) const;
  // UnsupportedError when the metadata asks for a mixture of experts.
  void refuse_experts() const;
  // Dimensions of a head: attention.key_length, else width / heads. UnsupportedError when values
  // have another length or only some dimensions are rotated.
  int64_t head_dim() const;
  void special_ids(Json& config) const;  // bos_token_id, eos_token_id, pad_token_id where given
  const std::string& path() const;

 private:
  std::string key_of(std::string_view key) const { return prefix_ + std::string(key); }
  const files::GgufFile& file_;
  std::string prefix_;  // "llama."
};

// The name table of one family: Hugging Face modules and what GGUF calls them.
struct GgufNames {
  std::vector<std::pair<std::string, std::string>> top;
  std::string block_prefix;  // "model.layers."
  std::vector<std::pair<std::string, std::string>> block;

  struct Found {
    std::string name;    // "blk.3.attn_q.weight"
    std::string module;  // "attn_q"
    bool in_block = false;
  };
  std::optional<Found> find(const std::string& hf_tensor) const;
};

}  // namespace halftone::spec
