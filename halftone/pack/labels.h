// What the files of a model say of themselves, against what lies in them: seen without running it,
// on any file the engine reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

struct Finding {
  enum class Level : uint8_t { fault, warning, note } level = Level::warning;
  std::string kind;               // "label", "bos", "chat_template", "weights"
  std::string text, remedy = {};  // the remedy where there is one
};
std::string_view level_name(Finding::Level level);  // "fault", "warning", "note"

// The bits that a name claims, if it claims any: "x-4bit", "W8A8", "int4", "q4_k_m", "Q8_0", "gptq4".
// The last path part counts.
std::optional<int64_t> claimed_bits(std::string_view name);

// The name, quantization_config, general.file_type of a GGUF, each against the linears but the head.
std::vector<Finding> label_findings(const PackedModel& model);

}  // namespace halftone::pack
