// The output folder out of parts and untouched tensors: Hugging Face layout, config.json with
// quantization_config, halftone.json.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "halftone/pack/folder.h"
#include "halftone/pack/quantization_config.h"
#include "halftone/recipe/driver.h"
#include "halftone/recipe/work_folder.h"

namespace halftone::recipe {

// What the recipe's layout choice comes to for this plan. UnsupportedError when the layout cannot
// hold it.
struct ChosenLayout {
  pack::Layout layout = pack::Layout::compressed_tensors;
  int64_t gptq_version = 2;
  std::string name;  // "compressed-tensors", "halftone", "gptq v1"
  std::string why;   // why halftone and not compressed-tensors, else empty
};
ChosenLayout choose_layout(const LayoutChoice& wanted, const Assignment& assignment,
                           const spec::ModelSpec& spec);

// Names of the spec's tensors that are copied, not quantized, in the spec's order.
std::vector<spec::TensorRef> dense_tensors(const spec::ModelSpec& spec,
                                           const Assignment& assignment);

// Bytes of the tensors that an [n, k] linear becomes.
uint64_t packed_bytes(const format::Format& format, int64_t n, int64_t k, pack::Layout layout,
                      bool scattered_groups = false);
// True bits of one of its weights: format::bits_per_weight, and in the GPTQ layout also the zeros of
// symmetric formats and the group of every column, which are stored there whatever the format.
double stored_bits(const format::Format& format, int64_t n, int64_t k, pack::Layout layout,
                   bool scattered_groups = false);

// Tokenizer and generation files that lie beside the model: name, path.
std::vector<std::pair<std::string, std::string>> side_files(const spec::Checkpoint& checkpoint,
                                                            Env& env);

// Reads linears back out of part files (they are stored in the halftone layout whatever the
// output's).
class PartReader {
 public:
  PartReader(const format::Plan& plan, const spec::ModelSpec& spec);
  pack::DecoratedLinear read(const files::TensorSource& part, const std::string& op) const;

 private:
  const format::Plan& plan_;
  const spec::ModelSpec& spec_;
  pack::QuantizationConfig config_;
};

// The recipe with its calibration file named without the folder: where a file lies changes no byte of
// the output.
Recipe without_folders(Recipe recipe);

// Recipe and report in halftone.json: no time, host or path.
Json receipt(const QuantizeRequest& request, const std::string& fingerprint,
             const std::string& weights_hash, const std::optional<CalibrationReport>& calibration,
             const std::vector<LayerReport>& layers, const ChosenLayout& layout);

// Writes `work.staging()`, reads it back.
pack::FolderSummary assemble(const QuantizeRequest& request, const Assignment& assignment,
                             const ChosenLayout& layout, const WorkFolder& work,
                             const Json& receipt, const std::set<std::string>& scattered,
                             std::vector<std::pair<std::string, std::string>> tokenizer_files,
                             const Context& context);

}  // namespace halftone::recipe
