// halftone compare: what candidates lost against a reference, and what they gained.
//
// Quality is measured here, side by side; speed and memory by `halftone bench` in a process of its
// own for each model, so that peak memory is that model's alone.
#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/cli/answers.h"
#include "halftone/cli/child.h"
#include "halftone/cli/compare_layers.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/cli/session.h"
#include "halftone/cli/side_by_side.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/task.h"
#include "halftone/eval/windows.h"
#include "halftone/kernel/isa.h"
#include "halftone/report/comparison.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string reference, data, report, text;
  std::vector<std::string> candidates;
  std::string prompts, sweep;
  int64_t windows = 8, window = 0, stride = 0, tokens = 64;
  bool no_speed = false, no_template = false, damage = false;
  std::vector<const CLI::Option*> of_prompts;  // options that mean nothing without --prompts
  LogitOptions logits;
};

// The JSON that `halftone bench MODEL --json` prints, run as a child.
Json bench_child(const std::string& model, const Session& session) {
  return child_json(session, {"bench", model, "--json", "--quiet", "--prefill", "256", "--decode",
                              "48", "--threads", std::to_string(session.context.threads)});
}

Json row_of(const std::string& name, const pack::PackedModel& model, const eval::Divergence& d) {
  return {{"name", name},
          {"bytes", model.weight_bytes()},
          {"bits_per_weight", model.bits_per_weight()},
          {"kl_mean", d.kl_mean},
          {"kl_ci95", d.kl_ci95},
          {"kl_median", d.kl_median},
          {"kl_p90", d.kl_p90},
          {"kl_p99", d.kl_p99},
          {"kl_max", d.kl_max},
          {"top1_agreement", d.top1_agreement},
          {"top1_ci95", d.top1_ci95},
          {"perplexity", d.perplexity},
          {"perplexity_ratio_ci95", d.perplexity_ratio_ci95},
          {"prefill_tok_s", nullptr},  // speed comes later, if at all
          {"decode_tok_s", nullptr},
          {"peak_rss_bytes", nullptr}};
}

Json json_of(const eval::Mean& mean) {
  return {{"value", mean.value}, {"ci95", mean.ci95 ? Json(*mean.ci95) : Json()}};
}

// Of the answers to --prompts.
Json json_of(const eval::Fidelity& f, const PromptFile& prompts, const ModelText& text) {
  const auto token = [&](std::optional<int32_t> id) {
    return id ? Json(text.tokenizer.token_bytes(*id)) : Json();
  };
  Json scores = Json::object(), partings = Json::array();
  for (const auto& [metric, score] : f.scores)
    scores[metric.name] = {{"title", metric.title},
                           {"value", score.value},
                           {"ci95", score.ci95 ? Json(*score.ci95) : Json()},
                           {"signature", "nrefs:1|" + metric.signature}};
  for (size_t i = 0; i < f.partings.size(); ++i) {
    const eval::Parting& p = f.partings[i];
    partings.push_back({{"line", prompts.prompts[i].line},
                        {"parted", p.parted()},
                        {"common_prefix", p.at},
                        {"reference", token(p.reference)},
                        {"model", token(p.model)}});
  }
  const auto first = f.earliest();
  return {{"exact", json_of(f.exact)},
          {"common_prefix", json_of(f.common_prefix)},
          {"tokens", json_of(f.tokens)},
          {"reference_tokens", json_of(f.reference_tokens)},
          {"median_parting", f.median_parting ? Json(*f.median_parting) : Json()},
          {"first_parting", first ? partings[static_cast<size_t>(*first)] : Json()},
          {"scores", scores},
          {"partings", partings}};
}

void print_fidelity(Terminal& t, const Json& result) {
  const Json& prompts = result["prompts"];
  TextTable table{{"answers", "same %", "95 %", "common prefix", "95 %"}, {}};
  for (const auto& [name, score] : result["models"][1]["fidelity"]["scores"].items()) {
    table.head.push_back(score["title"].get<std::string>());
    table.head.push_back("95 %");
  }
  std::vector<std::string> partings;
  for (const Json& row : result["models"]) {
    if (!row.contains("fidelity")) continue;
    const Json& f = row["fidelity"];
    const std::string name = row["name"].get<std::string>();
    std::vector<std::string> cells = {name};
    const auto add = [&](const Json& value, double factor) {
      cells.push_back(significant(factor * value["value"].get<double>()));
      const Json& ci = value["ci95"];
      cells.push_back(ci.is_null() ? "-"
                                   : significant(factor * ci[0].get<double>(), 2) + ".." +
                                         significant(factor * ci[1].get<double>(), 2));
    };
    add(f["exact"], 100);
    add(f["common_prefix"], 1);
    for (const auto& [metric, score] : f["scores"].items()) add(score, 1);
    table.rows.push_back(std::move(cells));
    const Json& first = f["first_parting"];
    if (first.is_null()) continue;
    const auto token = [](const Json& text) {
      return text.is_null() ? std::string("its end") : quote(text.get<std::string>());
    };
    partings.push_back(name + " parts first at token " +
                       std::to_string(first["common_prefix"].get<int64_t>() + 1) + " of line " +
                       first["line"].dump() + ": " + token(first["model"]) + ", the reference " +
                       token(first["reference"]) + "; half part by token " +
                       fixed(f["median_parting"].get<double>() + 1, 0));
  }
  t.out("");
  t.out(table.text());
  for (const std::string& line : partings) t.out(line);
  t.out("greedy answers of at most " + prompts["tokens"].dump() + " tokens to " +
        prompts["count"].dump() + " prompts of " + prompts["file"].get<std::string>() +
        (prompts["skipped"] == 0 ? "" : ", empty lines skipped: " + prompts["skipped"].dump()) +
        (prompts["template"] ? ", in the chat template" : "") +
        "; against the reference's answers, intervals over prompts");
}

void print_table(Terminal& t, const Json& result) {
  TextTable table{{"model", "size MB", "bits/w", "KL mean", "95 %", "same top %", "ppl",
                   "prefill tok/s", "decode tok/s", "peak MB"},
                  {}};
  for (const Json& row : result["models"]) {
    const auto mega = [](const Json& bytes) {
      return bytes.is_null() ? std::string("-") : significant(bytes.get<double>() / 1e6, 4);
    };
    const auto rate = [&](const char* key) {
      return row[key].is_null() ? std::string("-") : significant(row[key].get<double>(), 4);
    };
    table.rows.push_back({row["name"].get<std::string>(), mega(row["bytes"]),
                          significant(row["bits_per_weight"].get<double>()),
                          significant(row["kl_mean"].get<double>()),
                          result["windows"] == 1
                              ? "-"
                              : significant(row["kl_ci95"][0].get<double>(), 2) + ".." +
                                    significant(row["kl_ci95"][1].get<double>(), 2),
                          significant(100 * row["top1_agreement"].get<double>()),
                          significant(row["perplexity"].get<double>(), 5), rate("prefill_tok_s"),
                          rate("decode_tok_s"), mega(row["peak_rss_bytes"])});
  }
  t.out(table.text());
  t.out(result["protocol"].get<std::string>() + ", " + result["windows"].dump() + " windows of " +
        result["data"].get<std::string>() + "; quality " +
        (result["simulated"] ? "simulated by torch"
                             : "in mode " + result["mode"].get<std::string>()) +
        (result["models"][0]["decode_tok_s"].is_null() ? "" : ", speed in mode int8") + ", " +
        result["threads"].dump() + " threads, " + result["isa"].get<std::string>());
  if (result.contains("prompts")) print_fidelity(t, result);
}

// A KL between models that read other tokens means nothing. A model without a tokenizer takes the
// reference's, as those of a GPTQ script often do.
void check_same_tokens(const std::string& name, const spec::Checkpoint& checkpoint,
                       const std::string& reference, std::string_view text,
                       const std::vector<int32_t>& ids, const Context& context) {
  std::optional<ModelText> own;
  try {
    own = open_text(checkpoint, context);
  } catch (const Error& e) {
    if (e.code() != Code::missing) throw;
    context.warn(name + " has no tokenizer: it is given the tokens of " + reference);
    return;
  }
  if (own->tokenizer.encode(text) != ids)
    throw InputError(name, "cuts the text into other tokens than " + reference,
                     "compare models with one tokenizer");
}

// Both sides of --prompts: every model answers, and rows of candidates get "fidelity". Prompts are
// cut and framed as the reference does it.
class Answers {
 public:
  Answers(const Options& options, const Context& context) : options_(options), context_(context) {
    prompts_ = read_prompts(options.prompts, context);
    prompts_.say_skipped(context);
  }

  // Before the first answer, so that a prompt that does not fit is found early.
  void encode(const pack::PackedModel& reference, int64_t shortest_context) {
    text_.emplace(open_text(reference.checkpoint(), context_));
    templated_ = text_->chat && !options_.no_template;
    for (const Prompt& prompt : prompts_.prompts)
      naming_line(options_.prompts, prompt, [&] {
        ids_.push_back(encode_prompt(*text_, prompt.text, templated_));
        if (std::ssize(ids_.back()) >= shortest_context)
          throw InputError("--prompts",
                           "the prompt has " + std::to_string(ids_.back().size()) +
                               " tokens, the shortest context of the models is " +
                               std::to_string(shortest_context),
                           "shorten or remove the line");
      });
  }

  Json facts() const {
    return {{"file", options_.prompts},
            {"count", prompts_.prompts.size()},
            {"skipped", prompts_.empty_lines},
            {"tokens", options_.tokens},
            {"template", templated_}};
  }

  void run(const std::vector<LogitModel>& models, Json& rows) const {
    std::vector<eval::Answer> reference;
    for (size_t i = 0; i < models.size(); ++i) {
      context_.throw_if_stopped();
      std::vector<eval::Answer> answers =
          greedy_answers(models[i].model, *text_, ids_, templated_, options_.tokens, context_);
      if (i == 0) {
        reference = std::move(answers);
        continue;
      }
      rows[i]["fidelity"] = json_of(eval::fidelity(reference, answers, context_), prompts_, *text_);
      rows[i]["answers"] = side_by_side(models[0], models[i], *text_, prompts_.prompts, ids_,
                                        reference, answers, context_);
    }
  }

 private:
  const Options& options_;
  const Context& context_;
  PromptFile prompts_;
  std::optional<ModelText> text_;
  std::vector<std::vector<int32_t>> ids_;
  bool templated_ = false;
};

int compare_models(Session& session, const Options& options) {
  if (options.prompts.empty()) {
    for (const CLI::Option* option : options.of_prompts)
      if (option->count() > 0)
        throw InputError(option->get_name(), "is for answers to prompts",
                         "add --prompts FILE, or leave it out");
  } else if (options.logits.engine == "torch") {
    throw InputError("--prompts", "the torch engine writes no text",
                     "leave it out, or use --engine runtime");
  }
  if (options.damage && options.logits.engine == "torch")
    throw InputError("--damage", "mixes models for the runtime",
                     "leave it out, or use --engine runtime");
  options.logits.settle(session);
  Context& context = session.start();
  eval::check_stride(options.stride, options.window > 0 ? options.window : eval::kWindow);
  if (!options.data.empty()) session.places.data_dir = options.data;
  std::vector<std::string> names = {options.reference};
  names.insert(names.end(), options.candidates.begin(), options.candidates.end());
  // Mistakes before any work: a model that is not there, a page that cannot be written, text that
  // is not there.
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(spec::resolve_model(name, context));
  std::optional<files::TextSet> own;
  if (!options.text.empty()) {
    own = files::read_text_file(*session.env, options.text, session.places.parquet, context.limits);
    paths.push_back(options.text);
  } else {
    const Table<eval::Task> tasks("task", eval::entries());
    for (std::string& path : eval::check_data(tasks.at("wikitext2"), session.places, *session.env))
      paths.push_back(std::move(path));
  }
  std::optional<Answers> answers;
  if (!options.prompts.empty()) {
    answers.emplace(options, context);
    paths.push_back(options.prompts);
  }
  std::optional<Json> sweep;
  if (!options.sweep.empty()) {
    sweep = read_sweep(options.sweep, context);
    paths.push_back(options.sweep);
  }
  std::optional<OutputFile> page;
  if (!options.report.empty()) page.emplace(*session.env, options.report, "--report", paths);
  std::vector<LogitModel> models;
  int64_t shortest_context = std::numeric_limits<int64_t>::max();
  for (const std::string& name : names) {
    // What codes for keys and values lose shows against a reference that has none.
    LogitOptions logits = options.logits;
    if (models.empty()) logits.load.kv.clear();
    models.push_back(load_logits(name, logits, session));
    shortest_context = std::min(shortest_context, models.back().source->context());
  }
  if (answers) answers->encode(*models[0].packed, shortest_context);
  int64_t window = window_length(options.window, shortest_context, context);
  const auto encode = [&](std::string_view s) {
    std::vector<int32_t> ids =
        open_text(models[0].packed->checkpoint(), context).tokenizer.encode(s);
    for (size_t i = 1; i < models.size(); ++i)
      check_same_tokens(names[i], models[i].packed->checkpoint(), options.reference, s, ids,
                        context);
    return ids;
  };
  eval::ScoredText scored;
  if (own)
    scored = {own->label, encode(own->joined())};
  else
    scored = eval::scored_text("wikitext2", files::Split::test, session.places, encode, context);
  const auto tokens = static_cast<int64_t>(scored.ids.size());
  if (tokens < window) window = std::max<int64_t>(2, tokens);
  const eval::Protocol protocol =
      options.stride > 0 ? eval::strided_windows(tokens, window, options.stride, options.windows)
                         : eval::gptq_windows(tokens, window, options.windows);
  std::vector<eval::LogitSource*> candidates;
  for (size_t i = 1; i < models.size(); ++i) candidates.push_back(models[i].source.get());
  const auto found = eval::divergence(*models[0].source, candidates, scored.ids, protocol, context);
  if (protocol.windows.size() < 4)
    session.terminal.warn("few windows: intervals are wide; --windows 20 is a fair comparison");

  Json rows = Json::array();
  eval::Divergence none;
  none.top1_agreement = 1;
  none.top1_ci95 = {1, 1};
  none.perplexity = found[0].reference_perplexity;
  none.perplexity_ratio_ci95 = {1, 1};
  rows.push_back(row_of(options.reference, *models[0].packed, none));
  for (size_t i = 0; i < found.size(); ++i)
    rows.push_back(row_of(options.candidates[i], *models[i + 1].packed, found[i]));
  if (answers) answers->run(models, rows);
  add_layers(models, rows, context);
  if (options.damage) add_damage(models, rows, scored.ids, context);
  models.clear();
  if (!options.no_speed) {
    for (size_t i = 0; i < names.size(); ++i) {
      context.throw_if_stopped();
      context.progress(
          {"bench", names[i], static_cast<double>(i), static_cast<double>(names.size()), ""});
      const Json bench = bench_child(names[i], session);
      rows[i]["prefill_tok_s"] = bench["prefill"]["tok_s"];
      rows[i]["decode_tok_s"] = bench["decode"]["tok_s"];
      rows[i]["peak_rss_bytes"] = bench["peak_rss_bytes"];
      rows[i]["load_ms"] = bench["load_ms"];
    }
  }
  Json result = {{"models", rows},
                 {"reference", options.reference},
                 {"protocol", protocol.name},
                 {"windows", protocol.windows.size()},
                 {"positions", found[0].positions},
                 {"data", scored.label},
                 {"mode", options.logits.load.mode},
                 {"simulated", options.logits.engine == "torch"},
                 {"threads", context.threads},
                 {"isa", kernel::isa_name(kernel::choose_isa(std::getenv("HALFTONE_ISA")))}};
  if (answers) result["prompts"] = answers->facts();
  if (sweep) result["sweep"] = std::move(*sweep);
  if (page) {
    page->write(report::comparison_page(result, report::measurement_facts(session.argv)));
    page->finish();
    session.terminal.note("report: " + options.report);
  }
  session.print(result, [&] { print_table(session.terminal, result); });
  return 0;
}

}  // namespace

Command compare() {
  return {
      .summary = "KL, top-1 agreement, perplexity, speed and memory of models against a reference",
      .examples =
          "  halftone compare smollm2-fp out/rtn4 out/gptq4\n"
          "  halftone compare smollm2-fp out/gptq4 --prompts prompts.txt     (the same answers?)\n"
          "  halftone compare smollm2-fp out/gptq4 --windows 20 --report report.html\n"
          "  halftone compare smollm2-fp out/gptq4 --prompts prompts.txt --damage --report "
          "report.html\n"
          "  halftone compare models/base out/a out/b --text my.txt --json\n"
          "  halftone compare out/gptq4 out/gptq4 --kv int4     (what that cache loses: the "
          "reference keeps the default one)",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("REF", options->reference, "the reference, usually the full-precision model")
            ->required();
        app.add_option("MODEL", options->candidates, "one or more candidates")->required();
        app.add_option("--windows,--limit", options->windows, "windows to score (default 8)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--window", options->window,
                       "tokens a window (default 2048, or the model's context)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--stride", options->stride, "strided windows")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option(
            "--text", options->text,
            "score this .txt, .jsonl or .parquet file instead of wikitext2's test split");
        app.add_option("--data", options->data, "folder of data sets (default: HALFTONE_DATA)");
        app.add_option("--report", options->report, "write a self-contained HTML page");
        app.add_flag("--damage", options->damage,
                     "also measure what each block costs, by models that are mixed of both (takes "
                     "minutes; halftone check tells more)");
        app.add_option("--sweep", options->sweep,
                       "folder of halftone sweep: its heat maps go into the page and the JSON");
        app.add_option("--prompts", options->prompts,
                       "also let all models answer this file (a prompt a line, or JSONL with "
                       "\"prompt\"), and score answers against the reference's");
        options->of_prompts = {
            app.add_option("--tokens", options->tokens,
                           "at most this many new tokens an answer (default 64)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31)),
            app.add_flag("--no-template", options->no_template, "feed prompts as they are")};
        app.add_flag("--no-speed", options->no_speed, "quality only");
        options->logits.declare(app, session);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return compare_models(session, *options); };
      }};
}

}  // namespace halftone::cli
