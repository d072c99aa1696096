#include "halftone/files/model_folder.h"

#include <algorithm>
#include <array>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/files/gguf.h"
#include "halftone/files/pytorch_bin.h"
#include "halftone/files/recognise.h"
#include "halftone/files/safetensors.h"

namespace halftone::files {
namespace {

using Kind = WeightFiles::Kind;

WeightFiles one_file(const std::string& path, const Context& context) {
  if (path.ends_with(".safetensors.index.json")) return {Kind::safetensors_index, path};
  if (path.ends_with(".bin.index.json")) return {Kind::pytorch_index, path};
  const auto file = context.env->open(path);
  switch (recognise(*file)) {
    case FileKind::gguf:
      return {Kind::gguf, path};
    case FileKind::safetensors:
      return {Kind::safetensors, path};
    case FileKind::zip:
    case FileKind::pickle:
      return {Kind::pytorch, path};
    default:
      break;
  }
  // A damaged file of a known name: its own reader says best what is wrong.
  if (path.ends_with(".gguf")) return {Kind::gguf, path};
  if (path.ends_with(".safetensors")) return {Kind::safetensors, path};
  if (path.ends_with(".bin") || path.ends_with(".pt") || path.ends_with(".pth"))
    return {Kind::pytorch, path};
  std::array<std::byte, kRecogniseBytes> head;
  const auto n = static_cast<size_t>(std::min<uint64_t>(head.size(), file->size()));
  file->read(0, std::span(head).first(n));
  refuse_usual_mistakes(std::span(head).first(n), path, "model");
  throw FileError(Code::magic, path, "is neither safetensors, GGUF nor a PyTorch checkpoint");
}

}  // namespace

WeightFiles find_weights(const std::string& path, const Context& context) {
  const auto info = context.env->stat(path);
  if (!info) throw FileError(Code::missing, path, "no such file or folder");
  if (!info->is_directory) return one_file(path, context);

  constexpr std::array<std::pair<std::string_view, Kind>, 4> kNames = {{
      {"model.safetensors", Kind::safetensors},
      {"model.safetensors.index.json", Kind::safetensors_index},
      {"pytorch_model.bin", Kind::pytorch},
      {"pytorch_model.bin.index.json", Kind::pytorch_index},
  }};
  const std::vector<std::string> names = context.env->list(path);
  const auto there = [&](std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto& [name, kind] : kNames)
    if (there(name)) return {kind, join_path(path, name)};

  std::vector<std::string> ggufs;
  for (const std::string& name : names) {
    if (!name.ends_with(".gguf")) continue;
    const auto of = name.rfind("-of-");
    if (of != std::string::npos && of >= 5 && name.substr(of - 5, 5) != "00001")
      continue;  // a later part of a split
    ggufs.push_back(name);
  }
  if (ggufs.size() == 1) return {Kind::gguf, join_path(path, ggufs[0])};
  if (ggufs.size() > 1)
    throw FileError(Code::usage, path, "holds " + std::to_string(ggufs.size()) + " GGUF models", {},
                    "name one of them, for example " + join_path(path, ggufs[0]));
  if (there("adapter_config.json"))
    throw FileError(Code::missing, path, "is a LoRA adapter, not a model", {},
                    "name the model it was trained on");
  for (const std::string& name : names)
    if (name.starts_with("model-") && name.ends_with(".safetensors"))
      throw FileError(
          Code::missing, path,
          "holds shards such as " + quote(name) + " but no model.safetensors.index.json", {},
          "download the index file too");
  throw FileError(Code::missing, path,
                  "holds no weights: looked for model.safetensors, model.safetensors.index.json, "
                  "pytorch_model.bin, "
                  "pytorch_model.bin.index.json and *.gguf");
}

std::shared_ptr<const TensorSource> open_tensors(const std::string& path, const Context& context) {
  const WeightFiles files = find_weights(path, context);
  switch (files.kind) {
    case Kind::safetensors:
      return open_safetensors(files.path, context);
    case Kind::safetensors_index:
      return open_safetensors_index(files.path, context);
    case Kind::gguf:
      return gguf_tensors(open_gguf(files.path, context));
    case Kind::pytorch:
      return open_pytorch(files.path, context);
    case Kind::pytorch_index:
      return open_pytorch_index(files.path, context);
  }
  return nullptr;
}

Json read_config(const std::string& folder, const Context& context, const std::string& name) {
  auto config = read_config_if_there(folder, context, name);
  if (!config)
    throw FileError(Code::missing, join_path(folder, name), "no such file", {},
                    "a model folder in Hugging Face layout has it; is this the right folder?");
  return std::move(*config);
}

std::optional<Json> read_config_if_there(const std::string& folder, const Context& context,
                                         const std::string& name) {
  const std::string path = join_path(folder, name);
  if (!context.env->stat(path)) return std::nullopt;
  const std::string text = context.env->read_text(path, context.limits.json_file_bytes);
  refuse_usual_mistakes(
      std::as_bytes(std::span(text.data(), std::min(text.size(), kRecogniseBytes))), path, "JSON");
  Json json = parse_json(text, path, context.limits);
  if (!json.is_object()) throw FileError(Code::type, path, "is not a JSON object");
  return json;
}

}  // namespace halftone::files
