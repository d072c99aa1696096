#include "halftone/text/load.h"

#include <charconv>
#include <span>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/files/gguf.h"
#include "halftone/text/gguf_tokenizer.h"
#include "halftone/text/sentencepiece.h"
#include "halftone/text/vocabulary_files.h"

namespace halftone::text {
namespace {

std::optional<std::string> read_if_present(const Context& context, const std::string& folder,
                                           const char* name, uint64_t max) {
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
    if (const auto content = it->find("content"); content != it->end() && content->is_string())
      out = content->get<std::string>();
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

void take_ids(const Json& root, const std::string& path, const Limits& limits,
              std::vector<int32_t>& out) {
  const auto it = root.find("eos_token_id");
  if (it == root.end() || it->is_null()) return;
  const auto take = [&](const Json& value) {
    if (!value.is_number_integer())
      throw FileError(Code::type, path,
                      "\"eos_token_id\" is neither a whole number nor a list of them");
    const auto id = value.is_number_unsigned() ? value.get<uint64_t>()
                                               : static_cast<uint64_t>(value.get<int64_t>());
    if (id >= limits.vocabulary)
      throw FileError(Code::value, path, "\"eos_token_id\" is out of range");
    out.push_back(static_cast<int32_t>(id));
  };
  if (it->is_array()) {
    for (const Json& value : *it) take(value);
  } else {
    take(*it);
  }
}

// {"151643": {"content": "<|endoftext|>", "special": true, ...}, ...}
void take_added(const Json& root, const std::string& path, const Limits& limits,
                std::vector<ConfigToken>& out) {
  const auto it = root.find("added_tokens_decoder");
  if (it == root.end() || !it->is_object()) return;
  for (const auto& [key, entry] : it->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 ||
        static_cast<uint64_t>(id) >= limits.vocabulary)
      throw FileError(Code::value, path,
                      "added_tokens_decoder: " + quote(key) + " is not a token id");
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string())
      throw FileError(Code::type, path,
                      "added_tokens_decoder: token " + quote(key) + " has no \"content\"");
    const auto flag = [&](const char* name) {
      return entry.contains(name) && entry[name].is_boolean() && entry[name].get<bool>();
    };
    out.push_back({id, entry["content"].get<std::string>(), flag("special"), flag("lstrip")});
  }
}

// {"<|endoftext|>": 151643, ...}
void take_added_map(const Json& root, const std::string& path, const Limits& limits,
                    std::vector<ConfigToken>& out) {
  for (const auto& [content, id] : root.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limits.vocabulary)
      throw FileError(Code::value, path, "token " + quote(content) + " has no usable id");
    out.push_back({id.get<int32_t>(), content, true, false});
  }
}

// What a model's family implies for files that do not say how text is cut.
std::string cut_of_family(const Context& context, const std::string& folder,
                          const TokenizerConfig& config) {
  std::string family;
  if (const Json root = read_object(context, folder, "config.json"); root.is_object()) {
    if (const auto it = root.find("model_type"); it != root.end() && it->is_string())
      family = it->get<std::string>();
  }
  if (family.starts_with("qwen") || config.tokenizer_class.starts_with("Qwen2")) return "qwen2";
  if (family == "falcon") return "falcon";
  if (family == "gpt_bigcode" || family == "starcoder2") return "starcoder";
  if (family == "cohere") return "command-r";
  return "gpt-2";
}

// The only file with this ending, or "" when there is none.
std::string sole_file(const Context& context, const std::string& folder, std::string_view ending) {
  std::vector<std::string> found;
  for (const std::string& name : context.env->list(folder))
    if (name.ends_with(ending)) found.push_back(name);
  if (found.size() > 1)
    throw FileError(Code::value, folder,
                    "has several " + std::string(ending) + " files: " + found[0] + ", " + found[1],
                    {}, "name one of them");
  return found.empty() ? "" : found[0];
}

Tokenizer from_file(const Context& context, const std::string& folder, const std::string& name) {
  const std::string path = join_path(folder, name);
  const TokenizerConfig config = load_tokenizer_config(context, folder);
  const Limits& limits = context.limits;
  if (name.ends_with(".gguf"))
    return tokenizer_from_gguf(read_gguf_tokenizer(*files::open_gguf(path, context)), path, limits);
  if (name == "vocab.json" || name == "merges.txt") {
    const std::string vocab =
        context.env->read_text(join_path(folder, "vocab.json"), limits.json_file_bytes);
    const std::string merges =
        context.env->read_text(join_path(folder, "merges.txt"), limits.json_file_bytes);
    return tokenizer_from_bpe_files(vocab, merges, cut_of_family(context, folder, config),
                                    join_path(folder, "vocab.json"), config, limits);
  }
  const std::string text = context.env->read_text(path, limits.json_file_bytes);
  if (name.ends_with(".json")) return Tokenizer::from_json(text, path, config, limits);
  if (name.ends_with(".tiktoken") || (name.ends_with(".model") && looks_like_tiktoken(text)))
    return tokenizer_from_tiktoken(text, "", path, config, limits);
  if (name.ends_with(".model"))
    return tokenizer_from_sentencepiece(
        read_sentencepiece(std::as_bytes(std::span(text)), path, limits), path, config, limits);
  if (name.ends_with(".txt")) return tokenizer_from_vocab_txt(text, path, config, limits);
  throw UnsupportedError(path, "not a tokenizer file that is known by its name",
                         "tokenizer.json, vocab.json, *.model, *.tiktoken, vocab.txt or *.gguf");
}

}  // namespace

TokenizerConfig load_tokenizer_config(const Context& context, const std::string& folder) {
  TokenizerConfig out;
  take_tokens(read_object(context, folder, "special_tokens_map.json"), out);
  if (const Json root = read_object(context, folder, "tokenizer_config.json"); root.is_object()) {
    take_tokens(root, out);
    take_flag(root, "add_bos_token", out.add_bos);
    take_flag(root, "add_eos_token", out.add_eos);
    take_flag(root, "do_lower_case", out.lower_case);
    take_added(root, join_path(folder, "tokenizer_config.json"), context.limits, out.added);
    if (const auto it = root.find("tokenizer_class"); it != root.end() && it->is_string())
      out.tokenizer_class = it->get<std::string>();
  }
  if (out.added.empty()) {
    if (const Json root = read_object(context, folder, "added_tokens.json"); root.is_object())
      take_added_map(root, join_path(folder, "added_tokens.json"), context.limits, out.added);
  }
  if (const Json root = read_object(context, folder, "generation_config.json"); root.is_object())
    take_ids(root, join_path(folder, "generation_config.json"), context.limits, out.eos_ids);
  // Older folders say it in config.json only, as transformers reads them.
  if (out.eos_ids.empty()) {
    if (const Json root = read_object(context, folder, "config.json"); root.is_object())
      take_ids(root, join_path(folder, "config.json"), context.limits, out.eos_ids);
  }
  return out;
}

Tokenizer load_tokenizer(const Context& context, const std::string& path) {
  const auto info = context.env->stat(path);
  if (!info) throw FileError(Code::missing, path, "there is no such file or folder");
  if (!info->is_directory) return from_file(context, parent_path(path), file_name(path));
  const auto present = [&](const char* name) {
    const auto entry = context.env->stat(join_path(path, name));
    return entry && entry->is_regular;
  };
  for (const char* name : {"tokenizer.json", "vocab.json", "tokenizer.model"}) {
    if (present(name) && (std::string_view(name) != "vocab.json" || present("merges.txt")))
      return from_file(context, path, name);
  }
  for (const char* ending : {".model", ".tiktoken"})
    if (const std::string name = sole_file(context, path, ending); !name.empty())
      return from_file(context, path, name);
  if (present("vocab.txt")) return from_file(context, path, "vocab.txt");
  throw FileError(Code::missing, path,
                  "has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt, "
                  "*.model, *.tiktoken, vocab.txt",
                  {}, "put tokenizer.json beside the weights");
}

std::optional<ChatTemplate> load_chat_template(const Context& context, const std::string& folder,
                                               const std::string& name) {
  const uint64_t most = context.limits.template_source_bytes;
  if (name == "default") {
    if (const auto text = read_if_present(context, folder, "chat_template.jinja", most))
      return ChatTemplate::from_source(*text, join_path(folder, "chat_template.jinja"),
                                       context.limits);
  }
  for (const char* file : {"tokenizer_config.json", "chat_template.json"}) {
    const Json root = read_object(context, folder, file);
    if (!root.is_object()) continue;
    const auto it = root.find("chat_template");
    if (it == root.end() || it->is_null()) continue;
    const std::string path = join_path(folder, file);
    if (it->is_string())
      return ChatTemplate::from_source(it->get_ref<const std::string&>(), path, context.limits);
    if (!it->is_array())
      throw FileError(Code::type, path,
                      "\"chat_template\" is neither text nor a list of named templates");
    const Json* chosen = nullptr;
    for (const Json& entry : *it) {
      if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
          !entry.contains("template") || !entry["template"].is_string())
        throw FileError(Code::type, path,
                        "an entry of \"chat_template\" is not {\"name\", \"template\"}");
      if (entry["name"] == name || it->size() == 1) chosen = &(entry["template"]);
    }
    if (chosen)
      return ChatTemplate::from_source(chosen->get_ref<const std::string&>(), path, context.limits);
  }
  return {};
}

}  // namespace halftone::text
