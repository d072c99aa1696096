// halftone sweep: the generation study. Prompts x lengths x temperatures x top_k, a text for each,
// by every model, and what the texts have in common: repetition, speed, memory.
#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/memory.h"
#include "halftone/base/version.h"
#include "halftone/cli/child.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/session.h"
#include "halftone/cli/sweep_options.h"
#include "halftone/cli/sweep_simulated.h"
#include "halftone/cli/sweep_text.h"
#include "halftone/cli/sweep_writer.h"
#include "halftone/eval/sweep_summary.h"
#include "halftone/report/comparison.h"
#include "halftone/report/sweep_page.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  std::string prompts, output, lengths, temperatures, top_ks, shard;
  int64_t samples = 1, batch = 64, speed_samples = 20;
  double cache_gb = 0;
  bool ignore_eos = false, fresh = false, speed_only = false, simulated = false;
  ModelOptions load;
};

// Contents of all that a model's text depends on. Not where it lies and the times of files: shards
// come from other machines.
std::string content_hash(Env& env, const std::string& path) {
  Hasher hash;
  for (const std::string& name : spec::model_files(env, path)) {
    const auto file = env.open(name);
    if (name != path) hash.add(file_name(name));
    hash.add(*file, 0, file->size());
  }
  return hash.hex();
}

class Study {
 public:
  Study(Session& session, const Options& options, const Context& context)
      : session_(session), options_(options), context_(context), shard_(shard_of(options.shard)) {
    if (options.prompts.empty()) {
      prompts_.path = "the prompts that come with halftone";
      for (const std::string& text : eval::default_prompts())
        prompts_.prompts.push_back({std::ssize(prompts_.prompts) + 1, text, {}});
    } else {
      prompts_ = read_prompts(options.prompts, context);
    }
    for (size_t i = 0; i < prompts_.prompts.size(); ++i) {
      const std::string& text = prompts_.prompts[i].text;
      const auto again = std::find(grid_.prompts.begin(), grid_.prompts.end(), text);
      if (again != grid_.prompts.end())
        throw FileError(
            Code::duplicate, prompts_.where(i),
            "is the prompt of line " +
                std::to_string(
                    prompts_.prompts[static_cast<size_t>(again - grid_.prompts.begin())].line) +
                " again",
            {}, "take it out, or ask for more --samples");
      grid_.prompts.push_back(text);
    }
    if (!options.lengths.empty()) grid_.lengths = whole_values_of("--lengths", options.lengths);
    if (!options.temperatures.empty())
      grid_.temperatures = values_of("--temperatures", options.temperatures);
    if (!options.top_ks.empty()) grid_.top_ks = whole_values_of("--top-k", options.top_ks);
    grid_.samples = options.samples;
    eval::validate(grid_);
  }

  int go() {
    open_folder();
    check_models();
    prompts_.say_skipped(context_);
    Json models = Json::array();
    std::vector<std::vector<Json>> samples;
    for (size_t m = 0; m < names_.size(); ++m) {
      auto [row, made] = run_model(m);
      samples.push_back(std::move(made));
      row["difference"] =
          m == 0 ? Json() : eval::sweep_difference(grid_, samples[0], samples.back());
      models.push_back(std::move(row));
    }
    Json measures = Json::array();
    for (const eval::SweepMeasure& measure : eval::sweep_measures())
      measures.push_back({measure.key, measure.title});
    Json result = {
        {"grid", grid_json()},
        {"points", grid_.size()},
        {"shard", options_.shard.empty() ? Json() : Json(options_.shard)},
        {"prompts_from", prompts_.path},
        {"empty_lines", prompts_.empty_lines},
        {"mode", options_.load.mode},
        {"kv", models[0]["kv"]},
        {"ignore_eos", options_.ignore_eos},
        {"batch", options_.batch},
        {"threads", context_.threads},
        {"isa", models[0]["isa"]},
        {"measures", measures},
        {"models", models},
        {"simulated", options_.simulated ? simulated_loss(options_.models, names_, grid_,
                                                          samples[0], options_.load, session_)
                                         : Json()}};
    if (shard_.of == 1) {
      const Json facts = report::measurement_facts(session_.argv);
      result["facts"] = facts;
      write("summary.json", result.dump(1) + "\n");
      write("index.html", report::sweep_page(result, facts));
      write("duplicates.svg", report::sweep_heat_maps(result));
      write("duplicates-length.svg", report::sweep_curves(result));
    }
    session_.print(result, [&] {
      Terminal& t = session_.terminal;
      print_sweep(t, result);
      if (shard_.of == 1)
        t.note("page: " + join_path(options_.output, "index.html"));
      else
        t.note("when all shards are in one folder, the command without --shard joins them");
    });
    return 0;
  }

  // One model, one sample after the other, in this process: what go() starts for speed and memory.
  int speed_only() {
    const SweepWriter writer = open_writer(options_.models[0]);
    const std::vector<int64_t> points = speed_points();
    Json rows = Json::array();
    writer.one_by_one(std::span(points).first(1), [](int64_t, const SweepTokens&) {});  // warms up
    writer.one_by_one(points, [&](int64_t index, const SweepTokens& tokens) {
      const Json result = writer.result(index, tokens);
      rows.push_back({{"index", index},
                      {"text", result["text"]},
                      {"tokens", result["tokens"]},
                      {"seconds", result["seconds"]},
                      {"tok_s", result["tok_s"]}});
      context_.progress({"one at a time", "", static_cast<double>(rows.size()),
                         static_cast<double>(points.size()), ""});
    });
    session_.print({{"samples", rows},
                    {"peak_rss_bytes", peak_rss_bytes()},
                    {"load_ms", writer.loaded().load_ms}},
                   [&] {
                     for (const Json& row : rows)
                       session_.terminal.out(
                           row["index"].dump() + "  " + row["tokens"].dump() + " tokens  " +
                           significant(row["tok_s"].is_null() ? 0 : row["tok_s"].get<double>()) +
                           " tok/s");
                   });
    return 0;
  }

 private:
  void open_folder() {
    Env& env = *session_.env;
    const auto info = env.stat(options_.output);
    if (info && !info->is_directory)
      throw InputError("-o " + options_.output, "is a file", "name a folder");
    env.make_directories(options_.output);
  }

  // Mistakes before any work: models that are not there, that cannot write, that share a name;
  // prompts that one of them cannot take.
  void check_models() {
    for (const std::string& model : options_.models) {
      const std::string path = spec::resolve_model(model, context_);
      const std::string name = file_name(model);
      if (std::find(names_.begin(), names_.end(), name) != names_.end())
        throw InputError(model, "is the second model called " + name,
                         "call it by a link with another name");
      names_.push_back(name);
      paths_.push_back(path);
      const auto packed = pack::open_model(model, context_);
      sweep_prompts(open_text(packed->checkpoint(), context_).tokenizer, model,
                    packed->checkpoint().spec.context, prompts_);
    }
  }

  SweepWriter open_writer(const std::string& model) const {
    return SweepWriter(load_with_text(model, options_.load, context_), model, prompts_, grid_,
                       options_.ignore_eos, context_);
  }

  Json grid_json() const {
    return {{"prompts", grid_.prompts},
            {"lengths", grid_.lengths},
            {"temperatures", grid_.temperatures},
            {"top_ks", grid_.top_ks},
            {"samples", grid_.samples}};
  }

  // All that decides a text. Neither threads nor batch nor the instruction set do.
  Json about(size_t m, const SweepWriter& writer) const {
    return {{"sweep", 1},
            {"model", {{"name", names_[m]}, {"content", content_hash(*session_.env, paths_[m])}}},
            {"mode", options_.load.mode},
            {"kv", runtime::kv_type_name(writer.model().kv_type())},
            {"head_bits", options_.load.head_bits},
            {"activation_block", options_.load.activation_block},
            {"ignore_eos", options_.ignore_eos},
            {"program", program_commit()},
            {"grid", grid_json()}};
  }

  std::pair<Json, std::vector<Json>> run_model(size_t m) {
    const std::string& model = options_.models[m];
    const SweepWriter writer = open_writer(model);
    eval::SweepFile file(*session_.env,
                         join_path(options_.output, names_[m] + shard_.suffix() + ".jsonl"), grid_,
                         about(m, writer), options_.fresh);
    const int64_t before = known(file);
    const int64_t shards = shard_.of == 1 && !options_.fresh ? file.adopt_shards() : 0;
    if (before + shards > 0)
      context_.info(names_[m] + ": " + std::to_string(before + shards) +
                    " samples are there already" +
                    (shards > 0 ? ", " + std::to_string(shards) + " of them out of shards" : ""));
    fill(m, writer, file);
    file.finish();

    const Json summary = eval::sweep_summary(grid_, file.samples());
    double seconds = 0;
    for (const Json& sample : file.samples())
      if (!sample.is_null()) seconds += sample["seconds"].get<double>();
    const auto& loaded = writer.loaded();
    Json row = {
        {"name", names_[m]},
        {"model", model},
        {"label", loaded.model->label()},
        {"kv", runtime::kv_type_name(loaded.model->kv_type())},
        {"isa", loaded.model->isa()},
        {"bytes", loaded.packed->weight_bytes()},
        {"bits_per_weight", loaded.packed->bits_per_weight()},
        {"batched",
         {{"seconds", seconds},
          {"tok_s", seconds > 0 ? Json(summary["tokens"].get<double>() / seconds) : Json()}}},
        {"summary", summary}};
    measure_speed(model, file, row);
    return {std::move(row), file.samples()};
  }

  static int64_t known(const eval::SweepFile& file) {
    return std::count_if(file.samples().begin(), file.samples().end(),
                         [](const Json& sample) { return !sample.is_null(); });
  }

  void fill(size_t m, const SweepWriter& writer, eval::SweepFile& file) {
    const std::vector<int64_t> points = file.missing(shard_);
    double total = 0, done = 0;
    const auto length = [&](int64_t index) {
      return static_cast<double>(
          grid_.lengths[static_cast<size_t>(eval::sweep_point(grid_, index).length)]);
    };
    for (const int64_t index : points) total += length(index);
    size_t finished = 0;
    const auto take = [&](int64_t index, const SweepTokens& tokens) {
      file.add(index, writer.result(index, tokens));
      done += length(index);
      context_.progress(
          {names_[m],
           std::to_string(++finished) + " of " + std::to_string(points.size()) + " samples", done,
           total, "tok"});
    };
    try {
      writer.together(points, options_.batch, static_cast<uint64_t>(options_.cache_gb * 1e9), take);
    } catch (const Error& e) {
      if (e.code() != Code::interrupted) throw;
      throw Error(Code::interrupted, names_[m], e.fact(),
                  "the same command goes on where this one stopped");
    }
  }

  // Evenly over the grid, so that every length, temperature and top_k has its turn.
  std::vector<int64_t> speed_points() const {
    std::vector<int64_t> out;
    const int64_t count = std::min(options_.speed_samples, grid_.size());
    for (int64_t i = 0; i < count; ++i) out.push_back((2 * i + 1) * grid_.size() / (2 * count));
    return out;
  }

  void measure_speed(const std::string& model, const eval::SweepFile& file, Json& row) const {
    row["one_at_a_time"] = row["peak_rss_bytes"] = row["load_ms"] = nullptr;
    if (shard_.of > 1 || options_.speed_samples == 0) return;
    context_.progress({"one at a time", model, 0, 1, ""});
    const Json found = child_json(session_, child_arguments(model));
    double tokens = 0, seconds = 0, low = std::numeric_limits<double>::infinity(), high = 0;
    for (const Json& sample : found["samples"]) {
      const auto index = sample["index"].get<int64_t>();
      check(sample["text"] == file.sample(index)["text"],
            "sample " + std::to_string(index) + " depends on what runs beside it");
      if (!sample["tok_s"].is_number() || sample["tokens"].get<int64_t>() < 1) continue;
      tokens += sample["tokens"].get<double>();
      seconds += sample["seconds"].get<double>();
      low = std::min(low, sample["tok_s"].get<double>());
      high = std::max(high, sample["tok_s"].get<double>());
    }
    row["peak_rss_bytes"] = found["peak_rss_bytes"];
    row["load_ms"] = found["load_ms"];
    if (seconds <= 0) return;
    const Json& batched = row["batched"]["tok_s"];
    row["one_at_a_time"] = {
        {"samples", found["samples"].size()},
        {"min_tok_s", low},
        {"mean_tok_s", tokens / seconds},
        {"max_tok_s", high},
        {"batched_times",
         batched.is_number() ? Json(batched.get<double>() * seconds / tokens) : Json()}};
  }

  std::vector<std::string> child_arguments(const std::string& model) const {
    std::vector<std::string> out = {"sweep",
                                    model,
                                    "--speed-only",
                                    "--json",
                                    "--quiet",
                                    "--speed-samples",
                                    std::to_string(options_.speed_samples),
                                    "--samples",
                                    std::to_string(options_.samples),
                                    "--threads",
                                    std::to_string(context_.threads),
                                    "--mode",
                                    options_.load.mode};
    const auto add = [&](const char* option, const std::string& value) {
      if (value.empty()) return;
      out.emplace_back(option);
      out.push_back(value);
    };
    add("--prompts", options_.prompts);
    add("--lengths", options_.lengths);
    add("--temperatures", options_.temperatures);
    add("--top-k", options_.top_ks);
    add("--kv", options_.load.kv);
    add("--activation-block", options_.load.activation_block);
    add("--tile-cache", options_.load.tile_cache);
    if (options_.load.head_bits > 0) add("--head-bits", std::to_string(options_.load.head_bits));
    if (options_.ignore_eos) out.emplace_back("--ignore-eos");
    return out;
  }

  void write(const std::string& name, const std::string& contents) const {
    write_atomically(*session_.env, join_path(options_.output, name), contents);
  }

  Session& session_;
  const Options& options_;
  const Context& context_;
  const eval::SweepShard shard_;
  PromptFile prompts_;
  eval::SweepGrid grid_;
  std::vector<std::string> names_, paths_;
};

int sweep_models(Session& session, const Options& options) {
  if (options.speed_only && options.models.size() > 1)
    throw InputError("--speed-only", "is for one model");
  if (options.speed_only && options.speed_samples == 0)
    throw InputError("--speed-samples 0", "leaves --speed-only nothing to do",
                     "leave one of them out");
  if (!options.speed_only && options.output.empty())
    throw InputError("-o", "is missing", "name the folder of the results");
  if (options.simulated && !options.shard.empty())
    throw InputError("--simulated", "needs all samples", "give it when the shards are joined");
  if (options.simulated) session.need_torch("--simulated");
  const Context& context = session.start();
  Study study(session, options, context);
  return options.speed_only ? study.speed_only() : study.go();
}

}  // namespace

Command sweep() {
  return {
      .summary =
          "the generation study: prompts x lengths x temperatures x top_k, by several models",
      .examples =
          "  halftone sweep models/base out/rtn8 out/gptq4 -o study\n"
          "  halftone sweep smollm2-fp out/gptq4 --prompts my.txt --lengths 50 -o study "
          "--simulated\n"
          "  halftone sweep models/base -o study --shard 2/4         (of four machines)\n"
          "A run that was killed goes on when the same command is given again.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->models,
                       "folders, .gguf files, hub names in the local cache; the first is the "
                       "reference")
            ->required();
        app.add_option("--prompts", options->prompts,
                       "one prompt per line, or JSONL with \"prompt\" (default: ten of ours)");
        app.add_option("-o,--output", options->output,
                       "folder of the results: MODEL.jsonl, summary.json, index.html");
        app.add_option("--lengths", options->lengths,
                       "at most so many new tokens (default 50:500:50)");
        app.add_option("--temperatures", options->temperatures, "(default 0.1:0.8:0.1,1)");
        app.add_option("--top-k", options->top_ks, "(default 1,5,10,20,50,100,200)");
        app.add_option("--samples", options->samples, "of each prompt and cell (default 1)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
        app.add_option("--shard", options->shard,
                       "i/n: the i-th of n parts; without it, shards in the folder are joined");
        app.add_option("--batch", options->batch,
                       "texts written together, fewer where memory is short (default 64); no text "
                       "depends on it")
            ->check(CLI::Range(int64_t{1}, int64_t{1024}));
        app.add_option("--cache-gb", options->cache_gb,
                       "memory for keys and values (default: half of what is available)")
            ->check(CLI::PositiveNumber);
        app.add_option("--speed-samples", options->speed_samples,
                       "samples that are written once more one at a time, in a process of their "
                       "own, for tok/s and memory (default 20; 0: none)")
            ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
        app.add_flag("--speed-only", options->speed_only,
                     "nothing but these samples, and their times");
        app.add_flag("--ignore-eos", options->ignore_eos,
                     "texts go on past the end token, to their whole length");
        app.add_flag("--simulated", options->simulated,
                     "compare loss and speed of real and simulated quantization (torch)");
        app.add_flag("--fresh", options->fresh, "do not go on with what is in the folder");
        options->load.declare(app, "exact");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return sweep_models(session, *options); };
      }};
}

}  // namespace halftone::cli
