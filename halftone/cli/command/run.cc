// halftone run: one prompt, one answer.
#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/cli/draft_options.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/sampling_options.h"
#include "halftone/cli/session.h"
#include "halftone/runtime/generate.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, prompt;
  int64_t tokens = 128;
  bool no_template = false;
  ModelOptions load;
  SamplingOptions sampling;
  DraftFlags draft;
};

int run_model(Session& session, const Options& options) {
  if (!valid_utf8(options.prompt))
    throw InputError("--prompt", "is not UTF-8", "convert it, for example with iconv");
  options.draft.settle();
  const Context& context = session.start();
  runtime::GenerateOptions generation{.max_new_tokens = options.tokens,
                                      .sampler = options.sampling.resolve()};
  const auto [loaded, text] = load_with_text(options.model, options.load, context);
  const bool templated = text.chat && !options.no_template;
  const std::vector<int32_t> prompt =
      templated ? text.conversation(Json::array({text::message("user", options.prompt)}))
                : text.tokenizer.encode(options.prompt);
  generation.stop_ids = text.tokenizer.special().eos_ids;
  const auto drafter = options.draft.open(options.model, text, options.load, context, generation);

  runtime::Session sequence(
      loaded.model,
      {.max_tokens = std::min<int64_t>(loaded.model->context_length(),
                                       static_cast<int64_t>(prompt.size()) + options.tokens)},
      context);
  text::StreamDecoder stream(text.tokenizer);
  if (!templated) stream.follow(prompt);  // prompt and answer read as one text
  std::string answer;
  const auto show = [&](const std::string& piece) {
    answer += piece;
    if (session.json) return;
    session.terminal.piece(piece);
  };
  const runtime::GenerateResult result =
      runtime::generate(sequence, prompt, generation, [&](int32_t id) {
        show(stream.push(id));
        return !context.stop->load();
      });
  show(stream.finish());
  if (!session.json) session.terminal.piece("\n");
  Json json = {
      {"text", answer},
      {"prompt_tokens", result.prompt_tokens},
      {"tokens", result.tokens.size()},
      {"ids", result.tokens},
      {"stop", runtime::stop_name(result.reason)},
      {"seed", generation.sampler.temperature > 0 ? Json(generation.sampler.seed) : Json()},
      {"load_ms", loaded.load_ms},
      {"prefill_tok_s", result.prefill_tok_s()},
      {"decode_tok_s", result.decode_tok_s()},
      {"peak_rss_bytes", peak_rss_bytes()}};
  if (drafter) json["draft"] = draft_json(*drafter, result);
  if (session.json) {
    session.print(json, [] {});
  } else {
    std::string line =
        std::to_string(result.prompt_tokens) + " + " + std::to_string(result.tokens.size()) +
        " tokens, prefill " + significant(result.prefill_tok_s()) + " tok/s, decode " +
        significant(result.decode_tok_s()) + " tok/s, " +
        bytes_text(static_cast<double>(peak_rss_bytes())) + " peak, " + loaded.model->label();
    if (result.reason == runtime::Stop::full) line += ", stopped: context full";
    if (drafter) line += ", " + draft_note(result);
    if (generation.sampler.temperature > 0)
      line += ", seed " + std::to_string(generation.sampler.seed);
    session.terminal.note("\n[" + line + "]");
  }
  // What there is has been shown; scripts still see that it was cut short.
  return result.reason == runtime::Stop::callback ? static_cast<int>(Exit::interrupted) : 0;
}

}  // namespace

Command run() {
  return {.summary = "generate text from one prompt",
          .examples =
              "  halftone run smollm2 -p \"Why is the sky blue?\"\n"
              "  halftone run out/gptq4 -p \"Once upon a time\" -n 200 --no-template --greedy\n"
              "  halftone run smollm2 -p \"A haiku about rain\" --temperature 0.7 --seed 1 --json\n"
              "  halftone run out/gptq4 -p \"Summarize: $(cat notes.txt)\" --lookup",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("MODEL", options->model,
                           "a folder, a .gguf, a hub name in the local cache, smollm2")
                ->required();
            app.add_option("-p,--prompt", options->prompt,
                           "the prompt; the model's chat template is applied when it has one")
                ->required();
            app.add_option("-n,--tokens", options->tokens,
                           "at most this many new tokens (default 128)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
            app.add_flag("--no-template", options->no_template, "feed the prompt as it is");
            options->draft.declare(app);
            options->sampling.declare(app);
            options->load.declare(app, "int8");
            session.add_threads(app);
            session.add_json(app);
            session.add_quiet(app);
            return [options, &session] { return run_model(session, *options); };
          }};
}

}  // namespace halftone::cli
