#include "halftone/spec/unused_tensors.h"

#include <algorithm>
#include <charconv>

#include "halftone/base/error.h"

namespace halftone::spec {
namespace {

constexpr int64_t kMostBias = 1 << 22;  // elements of a bias that are looked at for zeros

// What pack/ reads of a quantized linear, in our layout, compressed-tensors and GPTQ.
constexpr std::string_view kPackedParts[] = {
    "weight_packed", "weight_scale", "weight_zero_point",  "weight_shape",
    "weight_g_idx",  "qweight",      "weight_input_scale", "qzeros",
    "scales",        "g_idx"};

bool matches(const std::string& name, const std::string& pattern) {
  if (pattern.starts_with('*')) return name.ends_with(std::string_view(pattern).substr(1));
  if (pattern.ends_with('*'))
    return name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  return name == pattern;
}

// Number of the block that a tensor is in, -1 outside of blocks.
int64_t block_of(const std::string& name, const std::string& prefix) {
  if (prefix.empty() || !name.starts_with(prefix)) return -1;
  int64_t number = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, number);
  return error == std::errc() && stop != end && *stop == '.' && number >= 0 ? number : -1;
}

// The module that owns a tensor, "" when the spec has none of that name.
std::string module_of(const std::string& name, const std::set<std::string>& modules) {
  for (auto dot = name.rfind('.'); dot != std::string::npos && dot > 0;
       dot = name.rfind('.', dot - 1))
    if (const std::string module = name.substr(0, dot); modules.contains(module)) return module;
  return {};
}

// Some exporters write the zero biases that the module would have had.
bool adds_nothing(const files::TensorInfo& info, const files::TensorSource& tensors) {
  if (!info.name.ends_with(".bias") || element_count(info.shape) > kMostBias) return false;
  if (info.dtype != DType::f32 && info.dtype != DType::f16 && info.dtype != DType::bf16)
    return false;
  const HostTensor values = to_f32(tensors.read(info.name));
  return std::ranges::all_of(values.as<float>(), [](float v) { return v == 0; });
}

bool packed_part(const TensorUse& use, const std::string& module, const std::string& part,
                 const files::TensorSource& tensors) {
  if (!use.quantized || !use.linears.contains(module)) return false;
  if (std::ranges::find(kPackedParts, part) != std::end(kPackedParts)) return true;
  // GPTQ folders give every linear a bias; it is read with the packed weights.
  return part == "bias" && std::ranges::any_of(kPackedParts, [&](std::string_view packed) {
           return tensors.find(module + "." + std::string(packed)) != nullptr;
         });
}

}  // namespace

TensorUse tensor_use(const ModelSpec& spec) {
  TensorUse use;
  use.blocks = static_cast<int64_t>(spec.blocks.size());
  if (!spec.blocks.empty()) {
    use.block_prefix = spec.blocks.front().name;
    while (!use.block_prefix.empty() && use.block_prefix.back() != '.') use.block_prefix.pop_back();
  }
  for (const TensorRef& ref : tensors(spec)) {
    use.used.insert(ref.name);
    use.modules.insert(ref.name.substr(0, ref.name.rfind('.')));
  }
  for (const LinearRef& ref : linears(spec)) {
    use.modules.insert(ref.op->name);
    use.linears.insert(ref.op->name);
    if (const std::string own = ref.op->name + ".weight"; ref.linear().weight.name != own)
      use.tied.insert(own);
  }
  return use;
}

void check_unused(const TensorUse& use, const std::vector<std::string>& harmless,
                  const files::TensorSource& tensors, const Context& context) {
  const files::TensorInfo* first = nullptr;
  int64_t unknown = 0;
  for (const files::TensorInfo& info : tensors.tensors()) {
    const std::string& name = info.name;
    if (use.used.contains(name)) continue;
    if (block_of(name, use.block_prefix) >= use.blocks)
      throw FileError(Code::mismatch, info.file,
                      "holds tensor " + quote(name) +
                          " of a layer past the last one: " + use.block_key + " of " + use.config +
                          " is " + std::to_string(use.blocks));
    if (use.tied.contains(name) ||
        std::ranges::any_of(harmless, [&](const auto& pattern) { return matches(name, pattern); }))
      continue;
    const std::string module = module_of(name, use.modules);
    if (!module.empty()) {
      const std::string part = name.substr(module.size() + 1);
      if (packed_part(use, module, part, tensors) || adds_nothing(info, tensors)) continue;
      // Further parts of quantized linears are for pack/ to judge, by what the config says.
      if (!use.quantized || !use.linears.contains(module) || part == "bias")
        throw FileError(
            Code::mismatch, info.file,
            "holds tensor " + quote(name) + ", which the model that " + use.config +
                " describes has no use for: leaving it out would change the results",
            {},
            part == "bias" && use.config == "config.json"
                ? "where the model has it, config.json says so (attention_bias, mlp_bias)"
                : "use weights and config of one model");
    }
    if (first == nullptr) first = &info;
    ++unknown;
  }
  if (first != nullptr)
    context.warn(
        first->file + ": " + quote(first->name) +
        (unknown > 1 ? " and " + std::to_string(unknown - 1) + " more tensors are" : " is") +
        " not used");
}

}  // namespace halftone::spec
