#include <algorithm>

#include "halftone/spec/gguf_config.h"

namespace halftone::spec {

std::optional<GgufNames::Found> GgufNames::find(const std::string& hf_tensor) const {
  const auto dot = hf_tensor.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  const std::string module = hf_tensor.substr(0, dot), suffix = hf_tensor.substr(dot);
  const auto look_up = [](const auto& rows, std::string_view key) -> const std::string* {
    for (const auto& [hf, gguf] : rows)
      if (hf == key) return &gguf;
    return nullptr;
  };
  if (const std::string* gguf = look_up(top, module)) return Found{*gguf + suffix, *gguf, false};
  if (!module.starts_with(block_prefix)) return std::nullopt;
  const auto end = module.find('.', block_prefix.size());
  if (end == std::string::npos) return std::nullopt;
  const std::string index = module.substr(block_prefix.size(), end - block_prefix.size());
  if (index.empty() ||
      !std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  const std::string* gguf = look_up(block, std::string_view(module).substr(end + 1));
  if (gguf == nullptr) return std::nullopt;
  return Found{"blk." + index + "." + *gguf + suffix, *gguf, true};
}

}  // namespace halftone::spec
