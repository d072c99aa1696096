// Chat templates: the Jinja text that a model brings to turn messages into its prompt.
//
// Rendered as transformers does (trim_blocks, lstrip_blocks, Python methods, raise_exception,
// strftime_now, its tojson), but in a child process with bounds (sandbox.h): a template is a
// program out of a file. Example:
//     const auto chat = load_chat_template(context, folder);
//     std::string prompt = chat->render(messages, {.variables = template_variables(tokenizer)});
//     std::vector<int32_t> ids = tokenizer.encode(prompt, false);   // templates write BOS
//
// Errors: FileError naming the template when its text is unusable (E_VALUE, E_DEPTH, E_LIMIT,
// E_UTF8) or fails on these messages (E_VALUE); Error{E_BUDGET} when it needs too many steps, bytes
// or too much time; InputError (E_USAGE) when the template refuses the conversation by
// raise_exception.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "halftone/base/json.h"
#include "halftone/base/limits.h"

namespace halftone::text {

class Tokenizer;

struct RenderOptions {
  bool add_generation_prompt = true;
  Json variables = Json::object();  // bos_token, eos_token, and whatever else the template asks for
                                    // (enable_thinking, ...)
  Json tools = nullptr;             // a list, or null
  Json documents = nullptr;
  std::optional<int64_t> now = {};  // seconds since 1970 for strftime_now(); the clock when empty
};

class ChatTemplate {
 public:
  // `source` is the Jinja text, `name` what errors call it. Compiles once to find mistakes early.
  static ChatTemplate from_source(std::string_view source, const std::string& name,
                                  const Limits& limits = {});

  // `messages`: [{"role": ..., "content": ...}, ...]; content is text or whatever the template
  // understands.
  std::string render(const Json& messages, const RenderOptions& options = {}) const;

  const std::string& source() const { return source_; }  // as it was given
  const std::string& name() const { return name_; }

 private:
  ChatTemplate(std::string source, std::string prepared, std::string name, const Limits& limits)
      : source_(std::move(source)),
        prepared_(std::move(prepared)),
        name_(std::move(name)),
        limits_(limits) {}
  std::string source_, prepared_, name_;
  Limits limits_;
};

// {"bos_token": "<s>", ...}: the special tokens as templates name them.
Json template_variables(const Tokenizer& tokenizer);

// One message; a convenience for callers that have plain text.
Json message(std::string_view role, std::string_view content);

}  // namespace halftone::text
