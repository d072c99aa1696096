// What is wrong with a model's files, seen without running it: labels that its tensors contradict,
// text that it lacks. For `halftone check`, on any file the engine reads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/cli/model_text.h"
#include "halftone/pack/packed_model.h"

namespace halftone::cli {

struct Finding {
  enum class Level : uint8_t { fault, warning, note } level = Level::warning;
  std::string kind;  // "label", "bos", "chat_template", "weights"
  std::string text;
};
std::string_view level_name(Finding::Level level);  // "fault", "warning", "note"

// Bits per weight of the linears but the head, as stored, and how many weights each storage has.
struct StoredBits {
  double bits_per_weight = 0;  // over all weights of linears but the head
  double mean_of_linears = 0;  // the same, every linear counting alike
  double nominal = 0;          // codes only: scales and zeros not counted
  std::vector<std::pair<std::string, int64_t>>
      kinds;  // "int4_g64", "q4_1", "bf16" -> weights, most first
};
StoredBits stored_bits(const pack::PackedModel& model);

// The bits that a name claims, if it claims any: "x-4bit", "W8A8", "int4", "q4_k_m", "Q8_0", "gptq4".
// The last path part counts.
std::optional<int64_t> claimed_bits(std::string_view name);

// Labels: the name, quantization_config, general.file_type of a GGUF, each against the tensors.
std::vector<Finding> label_findings(const pack::PackedModel& model, const StoredBits& bits);

// Text: a BOS that the reference's tokenizer adds and this one does not, a chat template that is
// missing. Without a reference only what the model says of itself.
std::vector<Finding> text_findings(const std::string& name, const ModelText& model,
                                   const ModelText* reference);

}  // namespace halftone::cli
