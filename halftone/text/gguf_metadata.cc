// The one place of this folder that knows the GGUF reader.
#include "halftone/base/error.h"
#include "halftone/files/gguf.h"
#include "halftone/text/gguf_tokenizer.h"

namespace halftone::text {

GgufTokenizer read_gguf_tokenizer(const files::GgufFile& file) {
  GgufTokenizer out;
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  const auto copy = [&](const char* name) {
    const auto views = file.strings(key(name));
    return std::vector<std::string>(views.begin(), views.end());
  };
  const auto id = [&](const char* name) -> std::optional<int64_t> {
    if (!file.has(key(name))) return {};
    const int64_t value = file.integer(key(name), INT64_MIN, INT64_MAX);
    // Some writers say "none" by the largest number.
    return value == -1 || value == UINT32_MAX ? std::nullopt : std::optional(value);
  };
  const auto flag = [&](const char* name) -> std::optional<bool> {
    return file.has(key(name)) ? std::optional(file.boolean(key(name))) : std::nullopt;
  };
  out.model = file.text(key("model"), "");
  out.pre = file.text(key("pre"), "");
  out.tokens = copy("tokens");
  out.merges = copy("merges");
  out.scores = file.numbers(key("scores"));
  for (const int64_t type : file.integers(key("token_type")))
    out.types.push_back(static_cast<int32_t>(type));
  out.bos = id("bos_token_id");
  out.eos = id("eos_token_id");
  out.eot = id("eot_token_id");
  out.eom = id("eom_token_id");
  out.unk = id("unknown_token_id");
  out.sep = id("seperator_token_id");  // so spelled
  out.pad = id("padding_token_id");
  out.cls = id("cls_token_id");
  out.mask = id("mask_token_id");
  out.add_bos = flag("add_bos_token");
  out.add_eos = flag("add_eos_token");
  out.add_sep = flag("add_sep_token");
  out.add_space_prefix = flag("add_space_prefix");
  out.remove_extra_whitespaces = flag("remove_extra_whitespaces");
  for (const int64_t byte : file.integers(key("precompiled_charsmap")))
    out.charsmap += static_cast<char>(byte);
  out.huggingface_json = file.text("tokenizer.huggingface.json", "");
  constexpr std::string_view prefix = "tokenizer.chat_template";
  for (const auto& [name, value] : file.metadata) {
    if (!name.starts_with(prefix) || (name.size() > prefix.size() && name[prefix.size()] != '.'))
      continue;
    if (value.is_array) continue;  // tokenizer.chat_templates is a list of names, and not this key
    const std::string short_name =
        name.size() > prefix.size() ? name.substr(prefix.size() + 1) : "default";
    out.chat_templates[short_name] = file.text(name);
  }
  return out;
}

}  // namespace halftone::text
