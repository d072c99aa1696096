#include "halftone/recipe/driver.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "halftone/base/env.h"
#include "halftone/base/hash.h"
#include "halftone/base/numbers.h"
#include "halftone/pack/packed_model.h"
#include "halftone/recipe/assemble.h"
#include "halftone/recipe/block_run.h"
#include "halftone/recipe/estimate.h"
#include "halftone/recipe/preflight.h"
#include "halftone/recipe/schedule.h"
#include "halftone/recipe/work_folder.h"

namespace halftone::recipe {
namespace {

std::string trimmed(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string hash_of(std::string_view text) { return Hasher().add(text).hex(); }

std::string gigabytes(uint64_t bytes) {
  return significant(static_cast<double>(bytes) * 1e-9, 3) + " GB";
}

// What is freed goes back to the system: a tokenizer leaves hundreds of MB of small pieces behind,
// and once large tensors were freed glibc would take the next ones from its heap, where the gaps
// between them stay (200 MB of SmolLM2).
void release_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

// What plan and run have in common: everything that follows from the request alone.
struct Prepared {
  Assignment assignment;
  ChosenLayout layout;
  Schedule schedule;
};

Prepared prepare(const QuantizeRequest& request, const Capabilities& can) {
  const spec::Checkpoint& checkpoint = request.checkpoint;
  if (checkpoint.quantized)
    throw UnsupportedError(checkpoint.path, "the model is quantized already",
                           "start from the full-precision model");
  Prepared out;
  out.assignment = assign(request.recipe, checkpoint.spec, *can.parts);
  out.layout = choose_layout(request.recipe.layout, out.assignment, checkpoint.spec);
  out.schedule =
      make_schedule(checkpoint.spec, out.assignment, *can.parts, request.recipe.sequential);
  if (!request.recipe.transforms.empty() || !request.recipe.correctors.empty() ||
      request.recipe.trainer)
    throw UnsupportedError("recipe " + request.recipe.name,
                           "the stream driver runs formats, allocators and rounders",
                           "leave transforms, correctors and trainer out");
  return out;
}

void check_capable(const QuantizeRequest& request, const Capabilities& can,
                   const Prepared& prepared) {
  for (const Choice& choice : prepared.assignment.choices) {
    const rounder::Entry& entry = can.parts->rounders.at(choice.rounder.name);
    if (!entry.run && !(can.run && can.run(choice.rounder.name)))
      throw UnsupportedError("rounder " + choice.rounder.name, "this program was built without it",
                             "build with HALFTONE_TORCH=ON");
  }
  if (prepared.schedule.last_observed < 0) return;
  check(request.recipe.calibration.has_value(), "the recipe was not resolved");
  if (!can.engine || !can.calibrate)
    throw UnsupportedError("recipe " + request.recipe.name,
                           "calibration needs the engine that this program was built without",
                           "build with HALFTONE_TORCH=ON, or use a recipe such as rtn_int4_g64");
  const int64_t context_length = request.checkpoint.spec.context;
  if (context_length > 0 && request.recipe.calibration->length > context_length)
    throw InputError("calibration",
                     "samples of " + std::to_string(request.recipe.calibration->length) +
                         " tokens are longer than the model's " + std::to_string(context_length),
                     "use --length " + std::to_string(context_length));
}

void check_memory(const QuantizeRequest& request, const PlanReport& plan) {
  if (request.memory_limit == 0 || plan.peak_memory <= request.memory_limit) return;
  throw Error(Code::budget, "memory",
              "about " + gigabytes(plan.peak_memory) + " are needed, the limit is " +
                  gigabytes(request.memory_limit),
              "lower the spill budget, use a shorter --length, or fewer threads");
}

class Run {
 public:
  Run(const QuantizeRequest& request, const Capabilities& can, const Context& context)
      : request_(request), can_(can), context_(context), env_(*context.env) {}

  QuantizeResult execute() {
    const auto start = std::chrono::steady_clock::now();
    prepared_ = prepare(request_, can_);
    result_.blocks = prepared_.schedule.blocks();
    Findings findings;
    findings.look([&] { check_capable(request_, can_, prepared_); });
    findings.look(
        [&] { check_output_is_not_input(env_, request_.output, request_.checkpoint.path); });
    findings.look([&] { check_output_is_free(env_, request_); });
    findings.look([&] { probe_writable(env_, request_.output); });
    findings.throw_if_any();
    result_.plan = estimate(request_, can_, prepared_.assignment, prepared_.schedule,
                            prepared_.layout, context_);
    if (!prepared_.layout.why.empty())
      context_.warn("the output has the halftone layout, which other programs do not read: " +
                    prepared_.layout.why);
    findings.look([&] { check_memory(request_, result_.plan); });
    findings.look([&] {
      check_free_space(env_, request_.output, request_.output + ".work", result_.plan.work_bytes);
    });
    findings.throw_if_any();

    WorkFolder work(context_, request_.output);
    try {
      work_ = &work;
      run();
    } catch (const IoError& e) {
      clean_up();
      if (e.error_number != ENOSPC && e.error_number != EDQUOT) throw;
      const uint64_t free = env_.free_space(nearest_folder(env_, request_.output));
      throw Error(Code::io, e.subject(),
                  e.fact() + ": the run needs about " + std::to_string(result_.plan.work_bytes) +
                      " bytes in all, " + std::to_string(free) + " are free now",
                  "free some space and run again with --resume: finished blocks are kept");
    } catch (const Error& e) {
      clean_up();
      if (e.code() != Code::interrupted) throw;
      throw Error(Code::interrupted, request_.output,
                  "stopped; " + std::to_string(finished_blocks()) + " of " +
                      std::to_string(result_.blocks) + " blocks are finished and kept",
                  request_.resume_command.empty() ? "go on with --resume"
                                                  : "go on with: " + request_.resume_command);
    } catch (...) {
      clean_up();
      throw;
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    result_.seconds = elapsed.count();
    return std::move(result_);
  }

 private:
  void clean_up() {
    try {
      work_->remove_temporaries();
    } catch (const Error&) {  // the failure that brought us here is the one to report
    }
  }

  void run() {
    std::set<std::string> as_f16;
    if (request_.recipe.dense_dtype == DType::f16)
      for (const auto& ref : dense_tensors(request_.checkpoint.spec, prepared_.assignment))
        as_f16.insert(ref.name);
    weights_ = scan_weights(request_.checkpoint, as_f16, context_);
    if (prepared_.schedule.last_observed >= 0) {
      calibration_ = can_.calibrate(*request_.recipe.calibration);
      if (calibration_->samples.empty()) throw InputError("calibration", "there are no samples");
      result_.calibration = calibration_->report;
    }
    if (can_.tokenizer_files) tokenizer_files_ = can_.tokenizer_files();
    if (can_.text_done) can_.text_done();
    release_memory();
    const Json fingerprint = make_fingerprint();
    result_.fingerprint = Hasher().add(canonical(fingerprint)).hex();
    if (!request_.force && is_complete(request_.output)) return finish_complete();
    // --resume let an existing output pass, in case it was this run's.
    if (!request_.force && env_.stat(request_.output) && !env_.list(request_.output).empty())
      throw InputError(request_.output, "exists already and is another run's result",
                       "--force replaces it");
    work_->begin(fingerprint, request_.force);
    if (work_->assembled()) {  // killed around the last rename
      read_reports();
      if (is_complete(work_->staging())) return publish();
      if (is_complete(request_.output)) return finish_complete();
    }
    run_blocks();
    write_output();
  }

  Json make_fingerprint() const {
    Json tokenizer = Json::object();
    for (const auto& [name, path] : side_files(request_.checkpoint, env_))
      tokenizer[name] = hash_of(env_.read_text(path, context_.limits.json_file_bytes));
    for (const auto& [name, text] : tokenizer_files_) tokenizer[name] = hash_of(text);
    return {{"program", HALFTONE_VERSION},
            {"numeric_path", can_.numeric_path},
            {"recipe", to_json(without_folders(request_.recipe))},
            {"seed", static_cast<int64_t>(context_.seed)},
            {"config", hash_of(canonical(request_.checkpoint.config))},
            {"tokenizer", tokenizer},
            {"weights", weights_},
            {"calibration",
             calibration_ ? Json(fingerprint_ids(calibration_->samples)) : Json(nullptr)}};
  }

  // Does `folder` hold the finished result of this very run?
  bool is_complete(const std::string& folder) const {
    const std::string path = join_path(folder, "halftone.json");
    if (!env_.stat(path)) return false;
    try {
      const Json receipt = parse_json(env_.read_text(path, context_.limits.json_file_bytes), path);
      return receipt.is_object() && receipt.contains("fingerprint") &&
             receipt["fingerprint"] == result_.fingerprint;
    } catch (const FileError&) {
      return false;
    }
  }

  void finish_complete() {
    const std::string path = join_path(request_.output, "halftone.json");
    const Json receipt = parse_json(env_.read_text(path, context_.limits.json_file_bytes), path);
    if (!receipt.contains("layers") || !receipt["layers"].is_array())
      throw FileError(Code::value, path, "has no list of layers", {}, "--force starts over");
    check_output();
    result_.layers.clear();
    try {
      for (const Json& layer : receipt["layers"])
        result_.layers.push_back(layer_report_from(layer));
    } catch (const Error& e) {
      throw FileError(Code::value, path, e.fact(), {}, "--force starts over");
    }
    check_layers(path);
    result_.already_complete = true;
    result_.reused_blocks = result_.blocks;
    summarise();
    for (const std::string& name : env_.list(request_.output)) {
      const auto info = env_.stat(join_path(request_.output, name));
      result_.output_bytes += info ? info->size : 0;
    }
    context_.info(request_.output + " is complete already");
    work_->remove();
  }

  // A finished output is what it was written as: every tensor is compared with halftone.json, the files
  // beside it with those that this run would copy.
  void check_output() const {
    Context quiet = context_;
    quiet.log = [](Level, std::string_view) {};
    try {
      const auto model = pack::open_model(request_.output, quiet);
      const files::TensorSource& tensors = *model->checkpoint().tensors;
      for (const auto& info : tensors.tensors()) {
        context_.throw_if_stopped();
        tensors.mapped(info.name);  // compares the whole tensor, mapped or not
      }
    } catch (Error& e) {
      if (e.code() == Code::interrupted) throw;
      throw FileError(e.code(), e.subject(), e.fact(), {}, "--force starts over");
    }
    const auto compare = [&](const std::string& name, const std::string& hash) {
      const std::string path = join_path(request_.output, name);
      if (!env_.stat(path) ||
          hash_of(env_.read_text(path, context_.limits.json_file_bytes)) != hash)
        throw FileError(Code::mismatch, path, "is missing or not what this run wrote", {},
                        "--force starts over");
    };
    for (const auto& [name, path] : side_files(request_.checkpoint, env_))
      compare(name, hash_of(env_.read_text(path, context_.limits.json_file_bytes)));
    for (const auto& [name, text] : tokenizer_files_) compare(name, hash_of(text));
  }

  int64_t finished_blocks() const {
    return prepared_.schedule.whole_blocks(static_cast<int64_t>(work_->finished().size()));
  }

  void read_reports() {
    result_.layers.clear();
    for (const Json& record : work_->finished())
      for (const Json& layer : record["layers"]) result_.layers.push_back(layer_report_from(layer));
    check_layers(work_->path());
  }

  // Reports that were read speak of the linears of this run, each once.
  void check_layers(const std::string& path) const {
    std::set<std::string> planned;
    for (const Choice& choice : prepared_.assignment.choices) planned.insert(choice.op);
    for (const LayerReport& layer : result_.layers)
      if (planned.erase(layer.op) == 0)
        throw FileError(Code::mismatch, path,
                        "reports on " + quote(layer.op) + ", which is not a linear of this run", {},
                        "--force starts over");
    if (!planned.empty())
      throw FileError(Code::mismatch, path, "has no report on " + quote(*planned.begin()), {},
                      "--force starts over");
  }

  void run_blocks() {
    result_.reused_blocks = finished_blocks();
    if (result_.reused_blocks > 0)
      context_.info("going on: " + std::to_string(result_.reused_blocks) + " of " +
                    std::to_string(result_.blocks) + " blocks are reused");
    BlockRun blocks(request_, can_, prepared_.assignment, prepared_.schedule,
                    prepared_.layout.layout, calibration_, *work_, context_);
    blocks.run();
    read_reports();
  }

  void write_output() {
    std::set<std::string> scattered;
    for (const LayerReport& layer : result_.layers)
      if (layer.scattered) scattered.insert(layer.op);
    check(scattered.empty() || prepared_.layout.layout != pack::Layout::compressed_tensors,
          "a rounder scattered groups without having said so");
    const auto summary = assemble(request_, prepared_.assignment, prepared_.layout, *work_,
                                  receipt(request_, result_.fingerprint, weights_,
                                          result_.calibration, result_.layers, prepared_.layout),
                                  scattered, std::move(tokenizer_files_), context_);
    work_->record_assembled(summary.hash);
    publish();
  }

  void publish() {
    for (const std::string& name : env_.list(work_->staging())) {
      const auto info = env_.stat(join_path(work_->staging(), name));
      result_.output_bytes += info ? info->size : 0;
    }
    const auto old = env_.stat(request_.output);
    if (old && !env_.list(request_.output).empty()) {
      env_.exchange(work_->staging(), request_.output);  // the old output goes with the work folder
    } else {
      env_.rename(work_->staging(), request_.output);
    }
    env_.sync_directory(parent_path(request_.output));
    summarise();
    work_->remove();
  }

  void summarise() {
    for (const LayerReport& layer : result_.layers) result_.fallbacks += !layer.fallback.empty();
    result_.bits_per_weight = bits_per_weight(result_.layers, request_.checkpoint.spec);
    if (result_.fallbacks > 0)
      context_.warn(std::to_string(result_.fallbacks) + " of " +
                    std::to_string(result_.layers.size()) +
                    " layers fell back to nearest rounding");
  }

  const QuantizeRequest& request_;
  const Capabilities& can_;
  const Context& context_;
  Env& env_;
  Prepared prepared_;
  WorkFolder* work_ = nullptr;
  std::string weights_;  // hash
  std::optional<CalibrationSet> calibration_;
  std::vector<std::pair<std::string, std::string>> tokenizer_files_;
  QuantizeResult result_;
};

}  // namespace

PlanReport plan_quantize(const QuantizeRequest& request_in, const Capabilities& can,
                         const Context& context) {
  QuantizeRequest request = request_in;
  request.output = trimmed(request.output);
  const Prepared prepared = prepare(request, can);
  PlanReport plan =
      estimate(request, can, prepared.assignment, prepared.schedule, prepared.layout, context);
  Findings findings;
  findings.look([&] { check_capable(request, can, prepared); });
  findings.look([&] { check_memory(request, plan); });
  if (!request.output.empty()) {
    findings.look(
        [&] { check_output_is_not_input(*context.env, request.output, request.checkpoint.path); });
    findings.look([&] { check_output_is_free(*context.env, request); });
    findings.look([&] {
      check_free_space(*context.env, request.output, request.output + ".work", plan.work_bytes);
    });
  }
  findings.throw_if_any();
  return plan;
}

QuantizeResult quantize(const QuantizeRequest& request_in, const Capabilities& can,
                        const Context& context) {
  QuantizeRequest request = request_in;
  request.output = trimmed(request.output);
  if (request.output.empty())
    throw InputError("quantize", "no output folder was given", "add -o FOLDER");
  return Run(request, can, context).execute();
}

}  // namespace halftone::recipe
