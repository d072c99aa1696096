#include "halftone/cli/task_input.h"

#include <chrono>

#include "halftone/base/error.h"

namespace halftone::cli {

ChosenTask choose_task(const Table<eval::Task>& table, const std::string& name) {
  if (const eval::Task* task = table.find(name)) return {name, "", task};
  std::vector<std::string> names;
  for (const auto& [task_name, task] : table.rows()) {
    names.push_back(task_name);
    for (const std::string& part : task.parts) {
      names.push_back(task_name + "_" + part);
      if (names.back() == name) return {name, part, &task};
    }
  }
  std::vector<std::string> tasks;
  for (const auto& row : table.rows()) tasks.push_back(row.name);
  throw InputError("task", "unknown task " + quote(name),
                   did_you_mean(name, names, "tasks: " + listed(tasks)));
}

eval::TextCodec codec_of(const text::Tokenizer& tokenizer) {
  const auto& special = tokenizer.special();
  eval::TextCodec codec{
      .encode = [&tokenizer](std::string_view s,
                             bool add_special) { return tokenizer.encode(s, add_special); },
      .prefix = special.bos ? special.bos : special.eos,
      .prefix_text = {},
      .source = tokenizer.source()};
  if (codec.prefix) codec.prefix_text = tokenizer.decode({{*codec.prefix}}, false);
  return codec;
}

std::function<std::string(const Json&)> chat_of(const ModelText& text, const std::string& model) {
  if (!text.chat)
    throw InputError("--chat-template", model + " has no chat template", "leave it out");
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return [&text, now](const Json& messages) {
    return text.chat->render(messages, {.variables = text::template_variables(text.tokenizer),
                                        .now = static_cast<int64_t>(now)});
  };
}

}  // namespace halftone::cli
