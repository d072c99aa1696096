#include "halftone/text/load.h"

#include <algorithm>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"

namespace halftone::text {
namespace {

std::optional<std::string> read_if_present(const Context& context, const std::string& folder, const char* name, uint64_t max) {
  const std::string path = join_path(folder, name);
  const auto info = context.env->stat(path);
  if (!info || !info->is_regular) return {};
  return context.env->read_text(path, max);
}

// The object in `folder`/`name`, or null when there is no such file.
Json read_object(const Context& context, const std::string& folder, const char* name) {
  const auto text = read_if_present(context, folder, name, context.limits.header_json_bytes);
  if (!text) return nullptr;
  const std::string path = join_path(folder, name);
  Json root = parse_json(*text, path, context.limits);
  if (!root.is_object()) throw FileError(Code::type, path, "is not a JSON object");
  return root;
}

// A special token is text, or an object with "content"; null and absent say nothing.
void take_token(const Json& root, const char* key, std::optional<std::string>& out) {
  const auto it = root.find(key);
  if (it == root.end()) return;
  if (it->is_string()) out = it->get<std::string>();
  if (it->is_object()) {
    if (const auto content = it->find("content"); content != it->end() && content->is_string()) out = content->get<std::string>();
  }
}

void take_tokens(const Json& root, TokenizerConfig& out) {
  if (!root.is_object()) return;
  take_token(root, "bos_token", out.bos);
  take_token(root, "eos_token", out.eos);
  take_token(root, "pad_token", out.pad);
  take_token(root, "unk_token", out.unk);
  take_token(root, "cls_token", out.cls);
  take_token(root, "sep_token", out.sep);
  take_token(root, "mask_token", out.mask);
}

void take_flag(const Json& root, const char* key, std::optional<bool>& out) {
  if (const auto it = root.find(key); it != root.end() && it->is_boolean()) out = it->get<bool>();
}

void take_ids(const Json& root, const std::string& path, const Limits& limits, std::vector<int32_t>& out) {
  const auto it = root.find("eos_token_id");
  if (it == root.end() || it->is_null()) return;
  const auto take = [&](const Json& value) {
    if (!value.is_number_integer()) throw FileError(Code::type, path, "\"eos_token_id\" is neither a whole number nor a list of them");
    const auto id = value.is_number_unsigned() ? value.get<uint64_t>() : static_cast<uint64_t>(value.get<int64_t>());
    if (id >= limits.vocabulary) throw FileError(Code::value, path, "\"eos_token_id\" is out of range");
    out.push_back(static_cast<int32_t>(id));
  };
  if (it->is_array()) {
    for (const Json& value : *it) take(value);
  } else {
    take(*it);
  }
}

}  // namespace

TokenizerConfig load_tokenizer_config(const Context& context, const std::string& folder) {
  TokenizerConfig out;
  take_tokens(read_object(context, folder, "special_tokens_map.json"), out);
  if (const Json root = read_object(context, folder, "tokenizer_config.json"); root.is_object()) {
    take_tokens(root, out);
    take_flag(root, "add_bos_token", out.add_bos);
    take_flag(root, "add_eos_token", out.add_eos);
    if (const auto it = root.find("tokenizer_class"); it != root.end() && it->is_string()) out.tokenizer_class = it->get<std::string>();
  }
  if (const Json root = read_object(context, folder, "generation_config.json"); root.is_object())
    take_ids(root, join_path(folder, "generation_config.json"), context.limits, out.eos_ids);
  return out;
}

Tokenizer load_tokenizer(const Context& context, const std::string& path) {
  const auto info = context.env->stat(path);
  if (!info) throw FileError(Code::missing, path, "there is no such file or folder");
  const std::string folder = info->is_directory ? path : parent_path(path);
  if (const auto text = read_if_present(context, folder, "tokenizer.json", context.limits.json_file_bytes))
    return Tokenizer::from_json(*text, join_path(folder, "tokenizer.json"), load_tokenizer_config(context, folder), context.limits);
  throw FileError(Code::missing, path, "has no tokenizer", {}, "put tokenizer.json beside the weights");
}

std::optional<ChatTemplate> load_chat_template(const Context& context, const std::string& folder, const std::string& name) {
  const uint64_t most = context.limits.template_source_bytes;
  if (name == "default") {
    if (const auto text = read_if_present(context, folder, "chat_template.jinja", most))
      return ChatTemplate::from_source(*text, join_path(folder, "chat_template.jinja"), context.limits);
  }
  for (const char* file : {"tokenizer_config.json", "chat_template.json"}) {
    const Json root = read_object(context, folder, file);
    if (!root.is_object()) continue;
    const auto it = root.find("chat_template");
    if (it == root.end() || it->is_null()) continue;
    const std::string path = join_path(folder, file);
    if (it->is_string()) return ChatTemplate::from_source(it->get_ref<const std::string&>(), path, context.limits);
    if (!it->is_array()) throw FileError(Code::type, path, "\"chat_template\" is neither text nor a list of named templates");
    const Json* chosen = nullptr;
    for (const Json& entry : *it) {
      if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") || !entry["template"].is_string())
        throw FileError(Code::type, path, "an entry of \"chat_template\" is not {\"name\", \"template\"}");
      if (entry["name"] == name || it->size() == 1) chosen = &(entry["template"]);
    }
    if (chosen) return ChatTemplate::from_source(chosen->get_ref<const std::string&>(), path, context.limits);
  }
  return {};
}

}  // namespace halftone::text
