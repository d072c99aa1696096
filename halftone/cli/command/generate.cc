// halftone generate: a file of prompts, an answer for each. Many go through the model together.
#include <chrono>

#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/cli/answers.h"
#include "halftone/cli/draft_options.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/cli/sampling_options.h"
#include "halftone/cli/session.h"
#include "halftone/runtime/batch.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, prompts, output;
  int64_t tokens = 128, batch = 16;
  double cache_gb = 0;
  bool no_template = false;
  const CLI::Option* batch_asked = nullptr;
  ModelOptions load;
  SamplingOptions sampling;
  DraftFlags draft;
};

// What became of one prompt, until its line is written.
struct Answer {
  std::vector<int32_t> ids, prompt;
  runtime::Stop stop = runtime::Stop::length;
  Json draft;
  bool done = false;
};

class Run {
 public:
  Run(Session& session, const Options& options, const Context& context)
      : session_(session),
        options_(options),
        context_(context),
        prompts_(read_prompts(options.prompts, context)),
        answers_(prompts_.prompts.size()) {
    prompts_.say_skipped(context);
    if (!options.output.empty())
      file_ = std::make_unique<OutputFile>(*context.env, options.output, "-o",
                                           std::vector{options.prompts, options.model});
    generation_ = {
        .max_new_tokens = options.tokens, .sampler = options.sampling.resolve(), .stop_ids = {}};
    auto [loaded, text] = load_with_text(options.model, options.load, context);
    loaded_ = std::move(loaded);
    text_.emplace(std::move(text));
    templated_ = text_->chat && !options.no_template;
    generation_.stop_ids = text_->tokenizer.special().eos_ids;
    for (size_t i = 0; i < prompts_.prompts.size(); ++i)
      answers_[i].prompt = encode_prompt(*text_, prompts_.prompts[i].text, templated_);
    work_ = static_cast<double>(options.tokens) * static_cast<double>(prompts_.prompts.size());
  }

  int go() {
    const auto start = std::chrono::steady_clock::now();
    if (options_.draft.wanted())
      one_by_one();
    else
      together();
    if (file_) file_->finish();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::string line =
        std::to_string(prompts_.prompts.size()) + " prompts, " + std::to_string(prompt_tokens_) +
        " + " + std::to_string(new_tokens_) + " tokens in " + duration(seconds) + ": " +
        significant(static_cast<double>(new_tokens_) / seconds) + " new tok/s, " +
        bytes_text(static_cast<double>(peak_rss_bytes())) + " peak, " + loaded_.model->label();
    if (options_.draft.wanted()) line += ", " + draft_note(total_);
    if (generation_.sampler.temperature > 0)
      line += ", seed " + std::to_string(generation_.sampler.seed);
    session_.terminal.finish_stage();
    session_.terminal.note("[" + line + "]");
    return 0;
  }

 private:
  // Streams of random numbers go by the place in the file, so that texts depend neither on what
  // runs beside them nor on --batch.
  runtime::GenerateOptions generation_of(size_t i) const {
    runtime::GenerateOptions out = generation_;
    out.sampler.stream = static_cast<uint32_t>(i);
    return out;
  }

  template <class F>
  void naming(size_t i, const F& f) const {
    naming_line(options_.prompts, prompts_.prompts[i], f);
  }

  void together() {
    runtime::Batch batch(
        loaded_.model,
        {.sequences = std::min<int64_t>(options_.batch, std::ssize(prompts_.prompts)),
         .cache_bytes = static_cast<uint64_t>(options_.cache_gb * 1e9)},
        context_);
    for (size_t i = 0; i < prompts_.prompts.size(); ++i)  // ids are places in the file
      naming(i, [&] { batch.add({.prompt = answers_[i].prompt, .options = generation_of(i)}); });
    while (!batch.idle()) {
      for (const runtime::Event& e : batch.step()) {
        const auto i = static_cast<size_t>(e.id);
        if (e.kind == runtime::Event::Kind::token)
          token(i, e.token);
        else
          finished(i, e.reason);
      }
      report();
    }
  }

  void one_by_one() {
    const auto drafter =
        options_.draft.open(options_.model, *text_, options_.load, context_, generation_);
    runtime::Session sequence(loaded_.model, {}, context_);
    for (size_t i = 0; i < prompts_.prompts.size(); ++i)
      naming(i, [&] { sequence.check_prompt(answers_[i].prompt); });
    for (size_t i = 0; i < prompts_.prompts.size(); ++i) {
      sequence.reset();
      const runtime::GenerateResult r =
          runtime::generate(sequence, answers_[i].prompt, generation_of(i), [&](int32_t id) {
            token(i, id);
            report();
            context_.throw_if_stopped();
            return true;
          });
      answers_[i].draft = draft_json(*drafter, r);
      total_.drafted += r.drafted;
      total_.accepted += r.accepted;
      total_.decoded += r.decoded;
      total_.steps += r.steps;
      finished(i, r.reason);
    }
  }

  void token(size_t i, int32_t id) {
    answers_[i].ids.push_back(id);
    ++new_tokens_;
    done_ += 1;
  }

  void finished(size_t i, runtime::Stop reason) {
    answers_[i].stop = reason;
    answers_[i].done = true;
    // what it did not need is not left to do
    done_ += static_cast<double>(options_.tokens - std::ssize(answers_[i].ids));
    while (written_ < answers_.size() && answers_[written_].done) write(written_++);
  }

  void write(size_t i) {
    Answer& a = answers_[i];
    prompt_tokens_ += std::ssize(a.prompt);
    Json line = {{"index", i},
                 {"prompt", prompts_.prompts[i].text},
                 {"text", answer_text(*text_, a.prompt, a.ids, templated_)},
                 {"prompt_tokens", a.prompt.size()},
                 {"tokens", a.ids.size()},
                 {"ids", a.ids},
                 {"stop", runtime::stop_name(a.stop)}};
    if (!prompts_.prompts[i].id.is_null()) line["id"] = prompts_.prompts[i].id;
    if (generation_.sampler.temperature > 0) line["seed"] = generation_.sampler.seed;
    if (!a.draft.is_null()) line["draft"] = a.draft;
    if (file_)
      file_->write(line.dump() + "\n");
    else
      session_.terminal.out(line.dump());
    a = {.ids = {}, .prompt = {}, .stop = a.stop, .draft = {}, .done = true};
  }

  void report() {
    const std::string detail =
        std::to_string(written_) + " of " + std::to_string(prompts_.prompts.size()) + " prompts";
    context_.progress({"generate", detail, done_, work_, "tok"});
  }

  Session& session_;
  const Options& options_;
  const Context& context_;
  PromptFile prompts_;
  std::vector<Answer> answers_;
  std::unique_ptr<OutputFile> file_;
  runtime::GenerateOptions generation_;
  LoadedModel loaded_;
  std::optional<ModelText> text_;
  bool templated_ = false;
  size_t written_ = 0;
  int64_t new_tokens_ = 0, prompt_tokens_ = 0;
  double done_ = 0, work_ = 0;
  runtime::GenerateResult total_;  // of drafting
};

int generate_all(Session& session, const Options& options) {
  options.draft.settle();
  if (options.draft.wanted() && options.batch_asked->count() > 0 && options.batch > 1)
    throw InputError("--batch " + std::to_string(options.batch),
                     "with drafts, prompts go one by one", "leave out --batch, or the draft");
  const Context& context = session.start();
  return Run(session, options, context).go();
}

}  // namespace

Command generate() {
  return {.summary = "answer a file of prompts, many at a time",
          .examples =
              "  halftone generate smollm2 --prompts prompts.txt -o answers.jsonl\n"
              "  halftone generate out/gptq4 --prompts items.jsonl --batch 32 -n 200 --greedy\n"
              "  halftone generate out/gptq4 --prompts articles.txt --lookup --greedy",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("MODEL", options->model,
                           "a folder, a .gguf, a hub name in the local cache, smollm2")
                ->required();
            app.add_option("--prompts", options->prompts,
                           "one prompt per line, or JSONL with \"prompt\" (and \"id\", which comes "
                           "back)")
                ->required();
            app.add_option("-o,--output", options->output,
                           "write JSONL here, in the order of the prompts (default: stdout)");
            app.add_option("-n,--tokens", options->tokens,
                           "at most this many new tokens each (default 128)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
            options->batch_asked =
                app.add_option("--batch", options->batch,
                               "prompts that go through the model together (default 16); no text "
                               "depends on it")
                    ->check(CLI::Range(int64_t{1}, int64_t{1024}));
            app.add_option("--cache-gb", options->cache_gb,
                           "memory for keys and values; prompts wait for it (default: half of what "
                           "is available)")
                ->check(CLI::PositiveNumber);
            app.add_flag("--no-template", options->no_template, "feed prompts as they are");
            options->draft.declare(app);
            options->sampling.declare(app);
            options->load.declare(app, "int8");
            session.add_threads(app);
            session.add_quiet(app);
            return [options, &session] { return generate_all(session, *options); };
          }};
}

}  // namespace halftone::cli
