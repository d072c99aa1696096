#include "halftone/cli/prompts.h"

#include <algorithm>

#include "halftone/base/bytes.h"
#include "halftone/base/env.h"
#include "halftone/runtime/batch.h"

namespace halftone::cli {
namespace {
constexpr uint64_t kPromptBytes = uint64_t{1} << 30;
}

Prompts read_prompts(const std::string& path, const Context& context) {
  const std::string text = context.env->read_text(path, kPromptBytes);
  Prompts out;
  const bool jsonl = text.find_first_not_of(" \t\r\n") != std::string::npos &&
                     text[text.find_first_not_of(" \t\r\n")] == '{';
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) {
      ++out.skipped;
      continue;
    }
    const std::string where = path + ": line " + std::to_string(number);
    if (!valid_utf8(line))
      throw FileError(Code::utf8, where, "is not UTF-8", {}, "mend or remove the line");
    if (!jsonl) {
      out.all.push_back({number, std::move(line), {}});
      continue;
    }
    const Json json = parse_json(line, where, context.limits);
    if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_string())
      throw FileError(Code::value, where, "has no \"prompt\" that is text", {},
                      "mend or remove the line");
    out.all.push_back({number, json["prompt"].get<std::string>(), json.value("id", Json())});
  }
  if (out.all.empty())
    throw FileError(Code::value, path, "has no prompts", {}, "write one per line");
  if (out.skipped > 0)
    context.info(path + ": " + std::to_string(out.skipped) + " of " + std::to_string(number) +
                 " lines are empty and skipped");
  return out;
}

std::vector<int32_t> encode_prompt(const ModelText& text, const std::string& prompt,
                                   bool templated) {
  return templated ? text.conversation(Json::array({text::message("user", prompt)}))
                   : text.tokenizer.encode(prompt);
}

std::string answer_text(const ModelText& text, std::span<const int32_t> prompt,
                        std::span<const int32_t> answer, bool templated) {
  text::StreamDecoder stream(text.tokenizer);
  if (!templated) stream.follow(prompt);
  std::string out;
  for (const int32_t id : answer) out += stream.push(id);
  return out + stream.finish();
}

std::vector<eval::Answer> greedy_answers(const std::shared_ptr<const runtime::Model>& model,
                                         const ModelText& text,
                                         std::span<const std::vector<int32_t>> prompts,
                                         bool templated, int64_t tokens, const Context& context) {
  const runtime::GenerateOptions options = {.max_new_tokens = tokens,
                                            .sampler = {.temperature = 0},
                                            .stop_ids = text.tokenizer.special().eos_ids};
  runtime::Batch batch(model, {.sequences = std::min<int64_t>(16, std::ssize(prompts))}, context);
  for (const auto& prompt : prompts) batch.add({.prompt = prompt, .options = options});
  std::vector<eval::Answer> out(prompts.size());
  const double work = static_cast<double>(tokens) * static_cast<double>(prompts.size());
  double done = 0;
  while (!batch.idle()) {
    for (const runtime::Event& e : batch.step()) {
      auto& ids = out[static_cast<size_t>(e.id)].ids;
      if (e.kind == runtime::Event::Kind::token) {
        ids.push_back(e.token);
        done += 1;
      } else {
        done += static_cast<double>(tokens - std::ssize(ids));
      }
    }
    context.progress({"answer", model->label(), done, work, "tok"});
  }
  for (size_t i = 0; i < out.size(); ++i)
    out[i].text = answer_text(text, prompts[i], out[i].ids, templated);
  return out;
}

}  // namespace halftone::cli
