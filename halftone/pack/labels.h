// What the files of a model say of themselves, against what lies in them: seen without running it,
// on any file the engine reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

struct Finding {
  enum class Level : uint8_t { fault, warning, note } level = Level::warning;
  std::string kind;               // "label", "bos", "chat_template", "weights"
  std::string text, remedy = {};  // the remedy where there is one
};
std::string_view level_name(Finding::Level level);  // "fault", "warning", "note"

// How the weights of the linears but the head are stored.
struct StoredBits {
  double bits_per_weight = 0;  // of all of them together
  double mean_of_linears = 0;  // the same, every linear counting alike
  double nominal = 0;          // codes only: scales and zeros not counted
  // "int4_g64", "q4_1", "bf16" -> weights, most first
  std::vector<std::pair<std::string, int64_t>> kinds;
};
StoredBits stored_bits(const PackedModel& model);

// The bits that a name claims, if it claims any: "x-4bit", "W8A8", "int4", "q4_k_m", "Q8_0", "gptq4".
// The last path part counts.
std::optional<int64_t> claimed_bits(std::string_view name);

// The name, quantization_config, general.file_type of a GGUF, each against the tensors.
std::vector<Finding> label_findings(const PackedModel& model, const StoredBits& bits);

}  // namespace halftone::pack
