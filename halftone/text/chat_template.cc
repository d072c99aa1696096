#include "halftone/text/chat_template.h"

#include <ctime>

#include "halftone/base/error.h"
#include "halftone/text/sandbox.h"
#include "halftone/text/template_source.h"
#include "halftone/text/tokenizer.h"
#include "halftone_bridge/src/lib.rs.h"
#include "rust/cxx.h"

namespace halftone::text {
namespace {

rust::Str borrow(const std::string& s) { return rust::Str(s.data(), s.size()); }

// The first byte of what the child answers; the text follows.
char mark(bridge::RenderStatus status) { return static_cast<char>('0' + static_cast<int>(status)); }

// Compiles `prepared` and, with `variables`, renders it. Runs in the child.
std::string work(const std::string& prepared, const std::string* variables, const Limits& limits,
                 int64_t now) {
  try {
    const auto handle = bridge::template_from_source(borrow(prepared));
    if (!variables) return std::string(1, mark(bridge::RenderStatus::Ok));
    const bridge::Rendered out = handle->render(borrow(*variables), limits.template_steps,
                                                limits.template_output_bytes, now);
    return mark(out.status) + std::string(out.text);
  } catch (const rust::Error& e) {
    return mark(bridge::RenderStatus::Failed) + std::string(e.what());
  }
}

std::string in_sandbox(const std::string& name, const std::string& prepared,
                       const std::string* variables, const Limits& limits, int64_t now) {
  const SandboxLimits bounds{.processor_ms = limits.template_ms,
                             .memory_bytes = limits.template_memory_bytes,
                             .output_bytes = limits.template_output_bytes + 65536};
  SandboxResult result =
      run_in_sandbox([&] { return work(prepared, variables, limits, now); }, bounds);
  const auto budget = [&](const std::string& what) {
    return Error(Code::budget, name, "the chat template needs " + what,
                 "use another template, or none");
  };
  switch (result.end) {
    case SandboxResult::End::done:
      break;
    case SandboxResult::End::out_of_time:
      throw budget("more than " + std::to_string(limits.template_ms) + " ms");
    case SandboxResult::End::too_much_output:
      throw budget("more than " + std::to_string(limits.template_output_bytes) +
                   " bytes of output");
    case SandboxResult::End::crashed:
      throw budget("more memory than " + std::to_string(limits.template_memory_bytes >> 20) +
                   " MiB, or more stack than there is");
  }
  check(!result.output.empty(), "a finished child answers with a mark");
  const char status = result.output.front();
  result.output.erase(0, 1);
  if (status == mark(bridge::RenderStatus::Ok)) return std::move(result.output);
  if (status == mark(bridge::RenderStatus::Refused))
    throw InputError(name, "the chat template refuses this conversation: " + quote(result.output));
  if (status == mark(bridge::RenderStatus::Budget)) throw budget(result.output);
  throw FileError(Code::value, name,
                  std::string("the chat template ") + (variables ? "failed: " : "is not usable: ") +
                      quote(result.output, 240));
}

}  // namespace

ChatTemplate ChatTemplate::from_source(std::string_view source, const std::string& name,
                                       const Limits& limits) {
  ChatTemplate out(std::string(source), prepare_template(source, name, limits), name, limits);
  in_sandbox(name, out.prepared_, nullptr, limits, 0);
  return out;
}

std::string ChatTemplate::render(const Json& messages, const RenderOptions& options) const {
  if (!messages.is_array()) throw InputError(name_, "messages are not a list");
  for (const Json& m : messages)
    if (!m.is_object()) throw InputError(name_, "a message is not an object with role and content");
  Json variables = options.variables.is_object() ? options.variables : Json::object();
  variables["messages"] = messages;
  variables["tools"] = options.tools;
  variables["documents"] = options.documents;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  std::string text;
  try {
    text = variables.dump();
  } catch (const nlohmann::json::exception&) {
    throw FileError(Code::utf8, name_, "a message is not UTF-8");
  }
  if (text.size() > limits_.string_bytes)
    throw FileError(
        Code::limit, name_,
        "the messages are longer than " + std::to_string(limits_.string_bytes) + " bytes");
  return in_sandbox(name_, prepared_, &text, limits_,
                    options.now.value_or(static_cast<int64_t>(std::time(nullptr))));
}

Json template_variables(const Tokenizer& tokenizer) {
  Json out = Json::object();
  const SpecialIds& s = tokenizer.special();
  const auto put = [&](const char* name, const std::optional<int32_t>& id) {
    if (id) out[name] = tokenizer.token(*id);
  };
  put("bos_token", s.bos);
  put("eos_token", s.eos);
  put("pad_token", s.pad);
  put("unk_token", s.unk);
  put("cls_token", s.cls);
  put("sep_token", s.sep);
  put("mask_token", s.mask);
  return out;
}

Json message(std::string_view role, std::string_view content) {
  return {{"role", std::string(role)}, {"content", std::string(content)}};
}

}  // namespace halftone::text
