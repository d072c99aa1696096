#include "halftone/spec/checkpoint.h"

#include <map>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/files/model_folder.h"
#include "halftone/spec/family.h"
#include "halftone/spec/model_names.h"
#include "halftone/spec/unused_tensors.h"

namespace halftone::spec {
namespace {

// Presents tensors under the spec's names where a checkpoint carries a prefix that the spec does
// not, or drops one.
class Renamed : public files::TensorSource {
 public:
  Renamed(std::shared_ptr<const files::TensorSource> inner,
          std::map<std::string, std::string> to_inner)
      : inner_(std::move(inner)), to_inner_(std::move(to_inner)) {
    for (const auto& [outer, name] : to_inner_) {
      files::TensorInfo info = *inner_->find(name);
      info.name = outer;
      infos_.push_back(std::move(info));
    }
  }
  const std::vector<files::TensorInfo>& tensors() const override { return infos_; }
  const files::TensorInfo* find(const std::string& name) const override {
    for (const auto& info : infos_)
      if (info.name == name) return &info;
    return nullptr;
  }
  HostTensor read(const std::string& name) const override { return inner_->read(inner_name(name)); }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    return inner_->read_rows(inner_name(name), begin, end);
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    return inner_->mapped(inner_name(name));
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    inner_->forget(inner_name(name), part);
  }

 private:
  const std::string& inner_name(const std::string& name) const {
    const auto it = to_inner_.find(name);
    return it == to_inner_.end() ? name : it->second;
  }
  std::shared_ptr<const files::TensorSource> inner_;
  std::map<std::string, std::string> to_inner_;
  std::vector<files::TensorInfo> infos_;
};

std::shared_ptr<const files::TensorSource> under_spec_names(
    std::shared_ptr<const files::TensorSource> source, const Family& family) {
  std::map<std::string, std::string> names;
  bool changed = false;
  for (const auto& info : source->tensors()) {
    std::string outer = info.name;
    for (const std::string& prefix : family.prefixes) {
      // The spec writes GPT-2 with its prefix and BERT without; files come in both forms.
      if (family.spec_has_prefix && !outer.starts_with(prefix) && outer != "lm_head.weight")
        outer.insert(0, prefix);
      if (!family.spec_has_prefix && outer.starts_with(prefix)) outer = outer.substr(prefix.size());
    }
    changed |= outer != info.name;
    names[outer] = info.name;
  }
  if (!changed) return source;
  return std::make_shared<Renamed>(std::move(source), std::move(names));
}

// Every tensor of the spec is there, in its shape. A quantized folder keeps some linears in other
// tensors: pack/ checks those.
void check_tensors(const Checkpoint& checkpoint) {
  for (const TensorRef& ref : tensors(checkpoint.spec)) {
    const files::TensorInfo* info = checkpoint.tensors->find(ref.name);
    if (info == nullptr) {
      if (checkpoint.quantized) continue;
      std::vector<std::string> names;
      for (const auto& other : checkpoint.tensors->tensors()) names.push_back(other.name);
      const auto near = nearest_name(ref.name, names);
      throw FileError(Code::missing, checkpoint.path, "tensor " + quote(ref.name) + " is missing",
                      {}, near ? "the nearest name there is " + quote(*near) : "");
    }
    if (info->shape != ref.shape && !checkpoint.quantized)
      throw FileError(Code::mismatch, info->file,
                      "tensor " + quote(ref.name) + " has shape " + to_string(info->shape) +
                          ", config.json says " + to_string(ref.shape));
  }
}

}  // namespace

const Json* quantization_of(const Json& config) {
  for (const char* key : {"quantization_config", "compression_config"})
    if (const auto it = config.find(key); it != config.end() && !it->is_null()) return &*it;
  return nullptr;
}

namespace {

Checkpoint open_folder(const std::string& model, const std::string& path, const Context& context) {
  Checkpoint checkpoint;
  checkpoint.name = model;
  checkpoint.path = path;
  checkpoint.config = files::read_config(path, context);
  const std::string config_path = join_path(path, "config.json");
  checkpoint.quantized = quantization_of(checkpoint.config) != nullptr;
  // GPTQ's older side file, for folders whose config.json says nothing.
  if (const std::string side = join_path(path, "quantize_config.json");
      !checkpoint.quantized && context.env->stat(side)) {
    checkpoint.config["quantization_config"] = parse_json(
        context.env->read_text(side, context.limits.header_json_bytes), side, context.limits);
    if (checkpoint.config["quantization_config"].is_object())
      checkpoint.config["quantization_config"].emplace("quant_method", "gptq");
    checkpoint.quantized = true;
  }
  const auto& family = family_for(checkpoint.config, config_path);
  checkpoint.spec = family.entry.assemble(checkpoint.config, config_path);
  checkpoint.spec.family = family.name;
  validate(checkpoint.spec, config_path);
  checkpoint.tensors = under_spec_names(files::open_tensors(path, context), family.entry);
  check_tensors(checkpoint);
  TensorUse use = tensor_use(checkpoint.spec);
  use.config = "config.json";
  use.block_key = checkpoint.config.contains("n_layer") ? "n_layer" : "num_hidden_layers";
  use.quantized = checkpoint.quantized;
  check_unused(use, family.entry.harmless, *checkpoint.tensors, context);
  return checkpoint;
}

}  // namespace

Checkpoint open_checkpoint(const std::string& model, const Context& context) {
  const std::string path = resolve_model(model, context);
  const auto info = context.env->stat(path);
  if (info && info->is_directory && context.env->stat(join_path(path, "config.json")))
    return open_folder(model, path, context);
  return open_gguf(model, path, context);
}

}  // namespace halftone::spec
