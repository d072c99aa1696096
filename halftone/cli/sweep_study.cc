#include "halftone/cli/sweep_study.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/version.h"
#include "halftone/cli/sweep_simulated.h"
#include "halftone/cli/sweep_speed.h"
#include "halftone/cli/sweep_writer.h"
#include "halftone/eval/sweep_summary.h"
#include "halftone/report/comparison.h"
#include "halftone/report/sweep_page.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

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
  Study(const Session& session, const SweepOptions& options)
      : session_(session),
        options_(options),
        context_(session.context),
        shard_(shard_of(options.shard)) {
    if (options.prompts.empty()) {
      prompts_.path = "the prompts that come with halftone";
      for (const std::string& text : eval::default_prompts())
        prompts_.prompts.push_back({std::ssize(prompts_.prompts) + 1, text, {}});
    } else {
      prompts_ = read_prompts(options.prompts, context_);
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

  Json go() {
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
    return result;
  }

  Json speed_only() const {
    return one_at_a_time(open_writer(options_.models[0]),
                         speed_points(grid_, options_.speed_samples), context_);
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
    row["one_at_a_time"] = row["peak_rss_bytes"] = row["load_ms"] = nullptr;
    if (shard_.of == 1 && options_.speed_samples > 0)
      measure_speed(model, options_, file, session_, row);
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

  void write(const std::string& name, const std::string& contents) const {
    write_atomically(*session_.env, join_path(options_.output, name), contents);
  }

  const Session& session_;
  const SweepOptions& options_;
  const Context& context_;
  const eval::SweepShard shard_;
  PromptFile prompts_;
  eval::SweepGrid grid_;
  std::vector<std::string> names_, paths_;
};

}  // namespace

Json sweep_study(const Session& session, const SweepOptions& options) {
  return Study(session, options).go();
}

Json sweep_speed_only(const Session& session, const SweepOptions& options) {
  return Study(session, options).speed_only();
}

}  // namespace halftone::cli
