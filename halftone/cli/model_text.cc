#include "halftone/cli/model_text.h"

#include <future>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/text/gguf_tokenizer.h"
#include "halftone/text/load.h"

namespace halftone::cli {

std::vector<int32_t> ModelText::conversation(const Json& messages) const {
  check(chat.has_value(), "a conversation needs a chat template");
  // Templates write the special tokens themselves.
  return tokenizer.encode(
      chat->render(messages, {.variables = text::template_variables(tokenizer)}), false);
}

ModelText open_text(const spec::Checkpoint& checkpoint, const Context& context) {
  const auto open = [&]() -> ModelText {
    if (checkpoint.gguf) {
      const text::GgufTokenizer gguf = text::read_gguf_tokenizer(*checkpoint.gguf);
      return {text::tokenizer_from_gguf(gguf, checkpoint.path, context.limits),
              text::chat_template_from_gguf(gguf, checkpoint.path, "default", context.limits)};
    }
    return {text::load_tokenizer(context, checkpoint.path),
            text::load_chat_template(context, checkpoint.path)};
  };
  ModelText out = open();
  out.tokenizer.check_fits(checkpoint.spec.vocabulary, checkpoint.path);
  return out;
}

std::vector<std::pair<std::string, std::string>> text_files(const spec::Checkpoint& checkpoint,
                                                            const ModelText& text) {
  const auto& special = text.tokenizer.special();
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}}, generation = Json::object();
  config.update(text::template_variables(text.tokenizer));  // bos_token, eos_token, ...
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = checkpoint.spec.context;
  if (text.chat) config["chat_template"] = text.chat->source();
  if (special.bos) generation["bos_token_id"] = *special.bos;
  if (special.eos_ids.size() == 1) generation["eos_token_id"] = special.eos_ids[0];
  if (special.eos_ids.size() > 1) generation["eos_token_id"] = special.eos_ids;
  if (special.pad) generation["pad_token_id"] = *special.pad;
  std::vector<std::pair<std::string, std::string>> files = {
      {"tokenizer.json", text.tokenizer.json()}, {"tokenizer_config.json", config.dump(2) + "\n"}};
  if (text.chat) files.emplace_back("chat_template.jinja", text.chat->source());
  if (!generation.empty()) files.emplace_back("generation_config.json", generation.dump(2) + "\n");
  return files;
}

ModelWithText load_with_text(const std::string& name, const ModelOptions& options,
                             const Context& context) {
  // What the reader of the text has to say is said after the model's: sinks serve one thread.
  std::vector<std::pair<Level, std::string>> said;
  Context aside = context;
  aside.pool = nullptr;
  aside.progress = [](const Progress&) {};
  aside.log = [&said](Level level, std::string_view text) { said.emplace_back(level, text); };
  std::future<ModelText> text;
  LoadedModel model = load_model(name, options, context, [&](const pack::PackedModel& packed) {
    text = std::async(std::launch::async,
                      [&aside, &packed] { return open_text(packed.checkpoint(), aside); });
  });
  text.wait();
  for (const auto& [level, line] : said) context.log(level, line);
  return {std::move(model), text.get()};
}

}  // namespace halftone::cli
