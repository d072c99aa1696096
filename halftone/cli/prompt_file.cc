#include "halftone/cli/prompt_file.h"

#include <algorithm>

#include "halftone/base/bytes.h"
#include "halftone/base/env.h"
#include "halftone/base/error.h"

namespace halftone::cli {
namespace {

constexpr uint64_t kPromptBytes = uint64_t{1} << 30;

}  // namespace

std::string PromptFile::where(size_t prompt) const {
  return path + ": line " + std::to_string(prompts[prompt].line);
}

void PromptFile::say_skipped(const Context& context) const {
  if (empty_lines > 0)
    context.info(path + ": " + std::to_string(empty_lines) + " of " +
                 std::to_string(empty_lines + std::ssize(prompts)) +
                 " lines are empty and skipped");
}

PromptFile read_prompts(const std::string& path, const Context& context) {
  const std::string text = context.env->read_text(path, kPromptBytes);
  PromptFile out{.path = path, .prompts = {}};
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool jsonl = first != std::string::npos && text[first] == '{';
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) {
      ++out.empty_lines;
      continue;
    }
    const std::string where = path + ": line " + std::to_string(number);
    if (!valid_utf8(line))
      throw FileError(Code::utf8, where, "is not UTF-8", {}, "save the file as UTF-8");
    if (!jsonl) {
      out.prompts.push_back({number, std::move(line), {}});
      continue;
    }
    Json json;
    try {
      json = parse_json(line, where, context.limits);
    } catch (const FileError& e) {
      throw FileError(e.code(), where, e.fact(), {}, "mend the line, or take it out");
    }
    if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_string())
      throw FileError(Code::value, where, "has no \"prompt\" that is text", {},
                      "write {\"prompt\": \"...\"}");
    out.prompts.push_back({number, json["prompt"].get<std::string>(), json.value("id", Json())});
  }
  if (out.prompts.empty())
    throw FileError(Code::value, path, "has no prompts", {}, "write one per line");
  return out;
}

}  // namespace halftone::cli
