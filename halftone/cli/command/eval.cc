// halftone eval: tasks on one model.
#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/session.h"
#include "halftone/cli/task_input.h"
#include "halftone/cli/text_options.h"
#include "halftone/eval/task.h"
#include "halftone/eval/windows.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, data, log_samples;
  std::vector<std::string> tasks;
  int64_t limit = 0, stride = 0, window = 0, shots = 0;
  const CLI::Option* asked_shots = nullptr;
  bool chat = false, fresh = false;
  LogitOptions logits;
};

// "perplexity 17.305 [16.9, 17.71]  gptq-2048, 148 windows of wikitext2 test, 93 s"
// "acc 0.685 +- 0.033 [0.62, 0.75]  acc_norm .. 0-shot, 200 items of piqa validation, 9 s"
std::string text_of(const eval::TaskResult& result) {
  std::string out;
  for (const eval::Metric& m : result.metrics) {
    out += m.name + " " + significant(m.value, 5);
    if (m.standard_error) out += " +- " + significant(*m.standard_error, 2);
    if (m.ci95)
      out += " [" + significant((*m.ci95)[0], 4) + ", " + significant((*m.ci95)[1], 4) + "]";
    out += "  ";
  }
  return out + result.basis + ", " + duration(result.seconds);
}

int evaluate(Session& session, Options& options) {
  const Table<eval::Task> table("task", eval::entries());
  eval::check_stride(options.stride, options.window > 0 ? options.window : eval::kWindow);
  if (!options.data.empty()) session.places.data_dir = options.data;
  std::vector<ChosenTask> chosen;
  std::vector<std::string> inputs;
  for (const std::string& name : options.tasks) {  // mistakes before any work
    chosen.push_back(choose_task(table, name));
    const auto& [_, part, task] = chosen.back();
    for (std::string& path : eval::check_data(*task, session.places, *session.env, part))
      inputs.push_back(std::move(path));
    if (!task->of_items && (options.chat || options.asked_shots->count() > 0))
      throw InputError(options.chat ? "--chat-template" : "--num-fewshot",
                       name + " is the perplexity of a running text", "leave it out for this task");
  }
  options.logits.settle(session);
  const Context& context = session.start();
  for (const auto& [name, part, task] : chosen)
    if (task->check) task->check(context, session.places.data_dir, part);
  const std::string path = spec::resolve_model(options.model, context);
  inputs.push_back(path);
  std::optional<OutputFile> samples;
  if (!options.log_samples.empty())
    samples.emplace(*session.env, options.log_samples, "--log-samples", inputs);
  const auto [packed, source, model] = load_logits(options.model, options.logits, session);
  if (options.window > 0) window_length(options.window, source->context(), context);
  const ModelText text = open_text(packed->checkpoint(), context);
  RunJournal journal(context, path, logit_settings(*source, session), options.fresh);
  Json results = Json::object();
  std::vector<std::string> lines = {source->label()};
  for (const auto& [name, part, task] : chosen) {
    const eval::TaskInput input{
        .source = *source,
        .encode = [&](std::string_view s) { return text.tokenizer.encode(s); },
        .places = session.places,
        .limit = options.limit,
        .stride = options.stride,
        .window = std::min(options.window, source->context()),
        .log_sample = samples ? [&](const Json& sample) { samples->write(sample.dump() + "\n"); }
                              : std::function<void(const Json&)>{},
        .context = context,
        .codec = codec_of(text.tokenizer),
        .part = part,
        .shots = options.asked_shots->count() > 0 ? std::optional(options.shots) : std::nullopt,
        .chat =
            options.chat ? chat_of(text, options.model) : std::function<std::string(const Json&)>{},
        .memory = journal.memory()};
    const eval::TaskResult result = resumable([&, &run = task->run] { return run(input); });
    results[name] = result.json;
    lines.push_back("  " + name + "  " + text_of(result));
  }
  session.print({{"model", options.model}, {"engine", source->label()}, {"results", results}}, [&] {
    for (const std::string& line : lines) session.terminal.out(line);
  });
  if (samples) samples->finish();  // last: a full disk takes the samples, not the result
  journal.remove();
  return 0;
}

std::string tasks_help() {
  std::string out = "comma-separated:";
  for (const auto& [name, task] : eval::entries()) out += (out.back() == ':' ? " " : ", ") + name;
  return out + "; mmlu_SUBJECT and mmlu_GROUP for a part of mmlu";
}

}  // namespace

Command eval() {
  return {
      .summary = "measure a model on tasks, to the protocols of lm-eval and of GPTQ's perplexity",
      .examples =
          "  halftone eval smollm2 --tasks wikitext2 --limit 8\n"
          "  halftone eval out/gptq4 --tasks wikitext2,ptb --stride 512 --json\n"
          "  halftone eval out/gptq4 --tasks piqa,arc_easy,arc_challenge,winogrande --limit 200\n"
          "  halftone eval out/gptq4 --tasks mmlu --num-fewshot 5 --limit 20     (20 a subject)\n"
          "  halftone eval out/gptq4 --tasks mmlu_anatomy,mmlu_stem --log-samples samples.jsonl\n"
          "  halftone eval out/gptq4 --tasks wikitext2 --engine torch      (simulated, for "
          "comparison)\n"
          "A run that was killed goes on when the same command is given again.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model,
                       "a folder, a .gguf, a hub name in the local cache, smollm2")
            ->required();
        app.add_option("--tasks", options->tasks, tasks_help())->required()->delimiter(',');
        app.add_option("--limit", options->limit,
                       "at most N windows, items or pages a task (of mmlu: a subject)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
        options->asked_shots =
            app.add_option("--num-fewshot", options->shots,
                           "examples before each question, chosen as lm-eval does (default 0)")
                ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
        app.add_flag("--chat-template", options->chat,
                     "questions as messages in the model's chat template (default: plain text)");
        app.add_option("--stride", options->stride,
                       "strided perplexity: windows advance by N tokens (512 is usual); default: "
                       "GPTQ's disjoint windows")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--window", options->window,
                       "tokens a window (default 2048, or the model's context)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        add_data(app, options->data);
        app.add_option("--log-samples", options->log_samples,
                       "write one JSON line a window or item to FILE, items as lm-eval does");
        app.add_flag("--fresh", options->fresh,
                     "do not go on with an earlier run that was interrupted");
        options->logits.declare(app, session);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return evaluate(session, *options); };
      }};
}

}  // namespace halftone::cli
