#include "halftone/cli/answers.h"

#include <algorithm>

#include "halftone/runtime/batch.h"

namespace halftone::cli {

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
                                         bool templated, int64_t tokens,
                                         const eval::RunMemory& memory, const Context& context) {
  const runtime::GenerateOptions options = {.max_new_tokens = tokens,
                                            .sampler = {.temperature = 0},
                                            .stop_ids = text.tokenizer.special().eos_ids};
  runtime::Batch batch(model, {.sequences = std::min<int64_t>(16, std::ssize(prompts))}, context);
  std::vector<eval::Answer> out(prompts.size());
  std::vector<size_t> asked;  // prompts, by the request's id
  std::vector<uint64_t> keys;
  for (size_t i = 0; i < prompts.size(); ++i) {
    keys.push_back(eval::memory_key("greedy answer", prompts[i], tokens));
    const auto known = memory.find ? memory.find(keys[i]) : std::nullopt;
    if (known) {
      out[i].ids = known->get<std::vector<int32_t>>();
    } else {
      batch.add({.prompt = prompts[i], .options = options});
      asked.push_back(i);
    }
  }
  const double work = static_cast<double>(tokens) * static_cast<double>(asked.size());
  double done = 0;
  while (!batch.idle()) {
    for (const runtime::Event& e : batch.step()) {
      const size_t i = asked[static_cast<size_t>(e.id)];
      auto& ids = out[i].ids;
      if (e.kind == runtime::Event::Kind::token) {
        ids.push_back(e.token);
        done += 1;
      } else {
        done += static_cast<double>(tokens - std::ssize(ids));
        if (memory.keep) memory.keep(keys[i], ids);
      }
    }
    context.progress({"answer", model->label(), done, work, "tok"});
  }
  for (size_t i = 0; i < out.size(); ++i)
    out[i].text = answer_text(text, prompts[i], out[i].ids, templated);
  return out;
}

}  // namespace halftone::cli
