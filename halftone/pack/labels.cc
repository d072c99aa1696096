#include "halftone/pack/labels.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <regex>

#include "halftone/base/numbers.h"
#include "halftone/files/gguf.h"
#include "halftone/pack/compression.h"

namespace halftone::pack {
namespace {

// general.file_type -> the type that most weights of such a file have. Only those whose mixtures
// are ruled by one type.
struct FileType {
  int64_t id;
  std::string_view name, type;
};
constexpr std::array kFileTypes = {
    FileType{0, "F32", "f32"},        FileType{1, "F16", "f16"},
    FileType{2, "Q4_0", "q4_0"},      FileType{3, "Q4_1", "q4_1"},
    FileType{7, "Q8_0", "q8_0"},      FileType{8, "Q5_0", "q5_0"},
    FileType{9, "Q5_1", "q5_1"},      FileType{11, "Q3_K_S", "q3_k"},
    FileType{12, "Q3_K_M", "q3_k"},   FileType{14, "Q4_K_S", "q4_k"},
    FileType{15, "Q4_K_M", "q4_k"},   FileType{16, "Q5_K_S", "q5_k"},
    FileType{17, "Q5_K_M", "q5_k"},   FileType{18, "Q6_K", "q6_k"},
    FileType{25, "IQ4_NL", "iq4_nl"}, FileType{30, "IQ4_XS", "iq4_xs"},
    FileType{32, "BF16", "bf16"},     FileType{36, "TQ1_0", "tq1_0"},
    FileType{37, "TQ2_0", "tq2_0"}};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// How the linears but the head are stored, and how many weights so; what most have comes first.
std::vector<std::pair<std::string, int64_t>> kinds_of(const PackedModel& model) {
  std::map<std::string, int64_t> kinds;
  for (const LinearStorage& linear : linear_storage(model))
    if (linear.role != spec::Role::head) kinds[linear.kind] += linear.weights;
  std::vector<std::pair<std::string, int64_t>> out(kinds.begin(), kinds.end());
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

void check_gguf_label(const files::GgufFile& file, const std::string& most,
                      std::vector<Finding>& out) {
  if (!file.has("general.file_type")) return;
  const int64_t id = file.integer("general.file_type", 0, 1 << 20);
  for (const FileType& type : kFileTypes) {
    if (type.id != id || most == type.type) continue;
    out.push_back(
        {Finding::Level::warning, "label",
         "general.file_type says " + std::string(type.name) + ", most weights are " + most});
  }
}

}  // namespace

std::string_view level_name(Finding::Level level) {
  switch (level) {
    case Finding::Level::fault:
      return "fault";
    case Finding::Level::warning:
      return "warning";
    case Finding::Level::note:
      break;
  }
  return "note";
}

std::optional<int64_t> claimed_bits(std::string_view name) {
  while (name.ends_with('/')) name.remove_suffix(1);
  const std::string last = lower(name.substr(name.rfind('/') + 1));
  static const std::regex kClaim(
      "(?:^|[^a-z0-9])(?:([1-8])-?bits?|(?:int|i?q|gptq|awq|rtn|w)([1-8])(?:_[0-9a-z_]+|a[0-9]+)?)"
      "(?![a-z0-9])");
  std::smatch found;
  if (!std::regex_search(last, found, kClaim)) return {};
  return std::stoll(found[1].matched ? found[1].str() : found[2].str());
}

std::vector<Finding> label_findings(const PackedModel& model) {
  std::vector<Finding> out;
  const spec::Checkpoint& checkpoint = model.checkpoint();
  const auto stored = kinds_of(model);
  if (stored.empty()) return out;
  std::string kinds;
  for (const auto& [kind, n] : stored) kinds += (kinds.empty() ? "" : ", ") + kind;
  const double bits = compression(model).linears;
  // Scales and zeros take up to 1.5 bits in the usual formats; mixtures go above, none below.
  auto claimed = claimed_bits(checkpoint.path);
  if (!claimed) claimed = claimed_bits(checkpoint.name);
  if (claimed &&
      (bits > static_cast<double>(*claimed) + 1.5 || bits < static_cast<double>(*claimed) - 0.1))
    out.push_back({Finding::Level::warning, "label",
                   "the name says " + std::to_string(*claimed) + " bits, its linears take " +
                       significant(bits) + " bits a weight (" + kinds + ")"});
  if (checkpoint.gguf) check_gguf_label(*checkpoint.gguf, stored[0].first, out);
  if (const Json* config = spec::quantization_of(checkpoint.config)) {
    int64_t dense = 0, all = 0;
    for (const auto& ref : spec::linears(checkpoint.spec)) {
      if (ref.linear().role == spec::Role::head) continue;
      ++all;
      dense += model.plan().find(ref.op->name, format::Port::weight) == nullptr;
    }
    const Json named = config->value("quant_method", Json());
    const std::string method = named.is_string() ? named.get<std::string>() : "no method named";
    if (dense == all)
      out.push_back({Finding::Level::fault, "label",
                     "config.json says it is quantized (" + method + "), no linear is"});
    else if (dense > 0)
      out.push_back(
          {Finding::Level::note, "label",
           std::to_string(dense) + " of " + std::to_string(all) + " linears are not quantized"});
    for (const char* key : {"bits", "w_bit"})
      if (config->contains(key) && (*config)[key].is_number_integer()) {
        int64_t other = 0;
        const int64_t said = (*config)[key];
        for (const auto& [port, format] : model.plan().ports)
          other += port.port == format::Port::weight && format.bits != said;
        if (other > 0)
          out.push_back({Finding::Level::note, "label",
                         "config.json says " + std::to_string(said) + " bits, " +
                             std::to_string(other) + " linears have others"});
      }
  }
  return out;
}

}  // namespace halftone::pack
