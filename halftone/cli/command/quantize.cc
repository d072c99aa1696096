// halftone quantize: a model and a recipe become a packed folder.
#include <limits>

#include "halftone/base/error.h"
#include "halftone/cli/measure.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/session.h"
#include "halftone/kernel/isa.h"
#include "halftone/recipe/driver.h"
#include "halftone/recipe/library.h"
#include "halftone/report/loss_card.h"
#include "halftone/runtime/generate.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, recipe, output, data, layout, calibration;
  std::optional<int64_t> samples, length;
  std::optional<uint64_t> seed;
  double spill_gb = 1.0, memory_gb = 0;
  int64_t measure_windows = 4;
  bool plan = false, resume = false, force = false, strict = false;
  bool no_measure = false, explain = false;
};

// Calibration text sampled from the model itself: BOS (or the end token), then temperature 1, as
// the study of data-free calibration does.
std::vector<std::vector<int32_t>> sample_from(const std::string& name, const ModelText& text,
                                              int64_t samples, int64_t length, uint64_t seed,
                                              const Context& context) {
  const auto& special = text.tokenizer.special();
  const int32_t first = special.bos ? *special.bos : special.eos ? *special.eos : 0;
  return runtime::sample_texts(
      runtime::Model::load(pack::open_model(name, context), {.numerics = runtime::Numerics::exact},
                           context),
      first, samples, length, {.temperature = 1, .seed = seed}, context);
}

void print_plan(Terminal& t, const recipe::PlanReport& plan) {
  for (const auto& row : plan.rows)
    t.out("  " + row.format +
          std::string(row.format.size() < 16 ? 16 - row.format.size() : 1, ' ') +
          std::to_string(row.linears) + " linears, " +
          count_text(static_cast<double>(row.parameters)) + " weights, " +
          bytes_text(static_cast<double>(row.bytes)));
  t.out("  size     " + bytes_text(static_cast<double>(plan.output_bytes)) + ", " +
        significant(plan.model_bits_per_weight) + " bits per weight (quantized linears " +
        significant(plan.bits_per_weight, 4) + ", nominal " + significant(plan.nominal_bits, 3) +
        "), layout " + plan.layout);
  t.out("  memory   about " + bytes_text(static_cast<double>(plan.peak_memory)) +
        " at most, disk " + bytes_text(static_cast<double>(plan.work_bytes)) + " while working");
  t.out("  time     about " + duration(plan.seconds) +
        (plan.gflops > 0 ? " at " + significant(plan.gflops) + " GFLOP/s" : ""));
}

void print_result(Terminal& t, const Options& options, const recipe::QuantizeResult& result) {
  TextTable table{{"layer", "format", "error", "of nearest", "damping"}, {}};
  std::string refitted;
  for (const auto& layer : result.layers) {
    table.rows.push_back({layer.op, layer.format.label(), significant(layer.error),
                          significant(layer.ratio(), 3), significant(layer.damping)});
    if (layer.refitted) refitted += (refitted.empty() ? "" : ", ") + layer.op;
  }
  t.out(table.text());
  if (!refitted.empty()) t.out("grids fitted on the way, group by group: " + refitted);
  t.out(options.output + ": " + bytes_text(static_cast<double>(result.output_bytes)) + ", " +
        significant(result.plan.model_bits_per_weight) + " bits per weight (quantized linears " +
        significant(result.bits_per_weight, 4) + "), layout " + result.plan.layout + ", " +
        std::to_string(result.fallbacks) + " fall-backs, " + duration(result.seconds));
  if (result.already_complete)
    t.out("it was complete already; every tensor is what halftone.json says");
  else if (result.reused_blocks > 0)
    t.out("reused " + std::to_string(result.reused_blocks) + " of " +
          std::to_string(result.blocks) + " blocks of the interrupted run");
  if (result.calibration) {
    const auto& c = *result.calibration;
    t.out("calibrated with " + std::to_string(c.samples) + " x " + std::to_string(c.length) +
          " tokens of " + c.data + ": " + count_text(static_cast<double>(c.tokens_used)) +
          " distinct tokens used, " + count_text(static_cast<double>(c.tokens_dropped)) +
          " dropped; " + c.windows + "; BOS: " + c.bos + "; template: " + c.chat_template);
  }
}

std::string shell_quoted(const std::string& word) {
  if (!word.empty() &&
      word.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=+:,@") ==
          std::string::npos)
    return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string resume_command(const std::vector<std::string>& argv) {
  std::string out = "halftone";
  bool has = false;
  for (size_t i = 1; i < argv.size(); ++i) {
    out += " " + shell_quoted(argv[i]);
    has |= argv[i] == "--resume";
  }
  return has ? out : out + " --resume";
}

void print_card(Terminal& t, const Json& measured, const Options& options, const Context& context) {
  t.out("");
  t.out(report::loss_card(measured, read_receipt(options.output, context),
                          std::min(t.width(), report::kCardWidth)));
}

void print_explanation(Terminal& t, const Json& measured, const Options& options,
                       const Context& context) {
  for (const std::string& line :
       report::explanation(measured, read_receipt(options.output, context)))
    t.out(report::wrapped(printable(line), std::min(t.width(), report::kCardWidth), 2));
}

// WikiText-2's test part; where that is not at hand what calibration read, else what the model writes
// itself. A model without a tokenizer has none.
MeasuredText text_to_measure(const Session& session, const Options& options,
                             const std::vector<std::vector<int32_t>>& calibration, int64_t window) {
  try {
    if (auto named = wikitext_for(options.model, session)) return std::move(*named);
    MeasuredText out{"the calibration text", {}, false};
    std::vector<std::vector<int32_t>> texts = calibration;
    if (texts.empty()) {
      const Context& context = session.context;
      const spec::Checkpoint checkpoint = spec::open_checkpoint(options.model, context);
      if (checkpoint.spec.output != spec::ModelSpec::Output::language_model) return {};
      out.label = "text that " + options.model + " wrote";
      texts = sample_from(options.model, open_text(checkpoint, context), options.measure_windows,
                          std::min(window, checkpoint.spec.context), 0, context);
    }
    for (const auto& text : texts) out.ids.insert(out.ids.end(), text.begin(), text.end());
    return out;
  } catch (const Error& e) {
    if (e.code() != Code::missing) throw;
    return {};
  }
}

// What stands in measured.json already, if that is of this very output; else it is measured. The
// output is whole before and after.
Json measured(const Session& session, const Options& options, const std::string& fingerprint,
              std::vector<std::vector<int32_t>> calibration) {
  const Context& context = session.context;
  try {
    try {
      if (auto known = read_measured(options.output, context);
          known && known->value("fingerprint", Json()) == fingerprint)
        return std::move(*known);
    } catch (const FileError&) {  // damaged: what it said is measured again
    }
    MeasureRequest request{.model = options.output,
                           .reference = options.model,
                           .text = {},
                           .windows = options.measure_windows,
                           .calibration = std::move(calibration)};
    request.text = text_to_measure(session, options, request.calibration, request.window);
    Json found = measure(request, session);
    write_measured(options.output, found, context);
    return found;
  } catch (const Error& e) {
    if (e.code() != Code::interrupted) throw;
    throw Error(Code::interrupted, options.output, "is whole; measuring it was stopped",
                "the same command measures it, --no-measure leaves it at that");
  }
}

int quantize_model(Session& session, const Options& options) {
  recipe::Recipe recipe = recipe::load_recipe(options.recipe, *session.env);
  const recipe::Parts parts = recipe::builtin_parts();
  if (!options.layout.empty()) recipe.layout = recipe::layout_named(options.layout);
  recipe::resolve(recipe, parts);  // now it says whether there is calibration
  if (recipe.calibration) {
    if (!options.calibration.empty()) recipe.calibration->data = options.calibration;
    if (options.samples) recipe.calibration->samples = *options.samples;
    if (options.length) recipe.calibration->length = *options.length;
    if (options.seed) recipe.calibration->seed = *options.seed;
  }
  recipe::resolve(recipe, parts);
  if (!recipe::needs(recipe, parts).empty()) session.need_torch("recipe " + recipe.name);

  Context& context = session.start();
  const bool calibration_asked =
      !options.calibration.empty() || options.samples || options.length || !options.data.empty();
  if (!recipe.calibration && calibration_asked)
    context.warn("recipe " + recipe.name +
                 " needs no calibration: --data, --calibration, --samples and --length "
                 "change nothing");
  if (session.torch == nullptr && session.device != "cpu")
    context.warn("recipe " + recipe.name + " needs no torch: --device changes nothing");
  if (options.seed) context.seed = *options.seed;
  if (!options.data.empty()) session.places.data_dir = options.data;
  if (recipe.calibration)
    recipe.calibration->data =
        recipe::find_calibration(recipe.calibration->data, session.places, context);
  recipe::QuantizeRequest request{.checkpoint = spec::open_checkpoint(options.model, context),
                                  .recipe = recipe,
                                  .output = options.output};
  // An output that nobody has measured was stopped while it was being measured, or made without: the
  // same command checks that it is whole, and measures it.
  const auto output_has = [&](const char* name) {
    return session.env->stat(join_path(options.output, name)).has_value();
  };
  request.resume = options.resume || (!options.no_measure && !options.force && !options.plan &&
                                      output_has("halftone.json") && !output_has("measured.json"));
  request.force = options.force;
  request.strict = options.strict;
  request.spill_budget = static_cast<uint64_t>(options.spill_gb * 1e9);
  request.memory_limit = static_cast<uint64_t>(options.memory_gb * 1e9);
  request.resume_command = resume_command(session.argv);

  recipe::Capabilities can;
  can.parts = &parts;
  can.numeric_path = std::string(kernel::isa_name(kernel::choose_isa(std::getenv("HALFTONE_ISA"))));
  std::vector<std::vector<int32_t>> calibration;  // kept for measuring
  std::optional<ModelText> text;
  const auto text_side = [&]() -> ModelText& {
    if (!text) text = open_text(request.checkpoint, context);
    return *text;
  };
  can.calibrate = [&](const recipe::CalibrationRequest& wanted) {
    ModelText& t = text_side();
    recipe::TextSide side;
    side.encode = [&t](std::string_view s) { return t.tokenizer.encode(s, false); };
    side.bos = t.tokenizer.special().bos.value_or(-1);
    side.adds_bos = t.tokenizer.adds_bos();
    if (t.chat)
      side.chat_template = [&t](std::string_view user) {
        return t.chat->render(Json::array({text::message("user", user)}),
                              {.variables = text::template_variables(t.tokenizer)});
      };
    side.sample = [&](int64_t samples, int64_t length, uint64_t seed) {
      return sample_from(options.model, t, samples, length, seed, context);
    };
    recipe::CalibrationSet set = recipe::make_calibration(wanted, side, session.places, context);
    if (!options.no_measure) calibration = set.samples;
    return set;
  };
  if (request.checkpoint.gguf)
    can.tokenizer_files = [&] { return text_files(request.checkpoint, text_side()); };
  can.text_done = [&] { text.reset(); };
  if (session.torch != nullptr) {
    can.engine = [&](uint64_t keep_bytes) {
      return session.torch->block_engine(request.checkpoint, session.device, keep_bytes, context);
    };
    can.measure_gflops = session.torch->measure_gflops;
    can.run = [&](const std::string& name) -> const rounder::Run* {
      for (const auto& row : session.torch->rounder_runs)
        if (row.name == name) return &row.entry;
      return nullptr;
    };
    can.numeric_path += ", " + session.torch->numeric_path();
    if (session.device != "cpu") can.numeric_path += ", " + session.device;
  }

  if (options.plan) {
    const recipe::PlanReport plan = recipe::plan_quantize(request, can, context);
    session.print(recipe::to_json(plan), [&] {
      session.terminal.out(options.model + " by " + recipe.name + ":");
      print_plan(session.terminal, plan);
    });
    return 0;
  }
  const recipe::QuantizeResult result = recipe::quantize(request, can, context);
  Json json = recipe::to_json(result);
  session.terminal.finish_stage();
  if (!session.json) print_result(session.terminal, options, result);
  if (!options.no_measure)
    json["measured"] = measured(session, options, result.fingerprint, std::move(calibration));
  session.print(json, [&] {
    if (!options.no_measure) print_card(session.terminal, json["measured"], options, context);
    if (options.explain)
      print_explanation(session.terminal, json.value("measured", Json()), options, context);
  });
  return 0;
}

}  // namespace

Command quantize() {
  return {
      .summary =
          "quantize a model by a recipe into a folder that runs here and loads in the Hugging Face "
          "tools",
      .examples =
          "  halftone quantize smollm2 --recipe gptq_int4_g64 -o out/gptq4\n"
          "  halftone quantize smollm2 --recipe rtn_int4_g64 -o out/rtn4          (no calibration, "
          "seconds)\n"
          "  halftone quantize models/my --recipe gptq_int4_g128 --calibration c4 --samples 128 "
          "--length 2048 -o out/my4\n"
          "  halftone quantize smollm2 --recipe gptq_int3_g64 -o out/x --plan     (size, memory "
          "and time before any work)\n"
          "  halftone quantize smollm2 --recipe rtn_int4_g64 -o out/rtn4 --explain",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model,
                       "a folder, a .gguf, a hub name in the local cache, smollm2")
            ->required();
        app.add_option("--recipe", options->recipe, "a name (see halftone recipes) or a .yaml file")
            ->required();
        app.add_option("-o,--output", options->output, "folder to write")->required();
        app.add_option("--data", options->data,
                       "folder of data sets (default: HALFTONE_DATA), or what --calibration takes");
        app.add_option(
            "--calibration", options->calibration,
            "calibration text: auto, wikitext2, c4, ptb, self, or a .txt .jsonl .parquet file");
        app.add_option("--samples", options->samples, "calibration samples")
            ->check(CLI::Range(int64_t{1}, recipe::kMostSamples));
        app.add_option("--length", options->length, "tokens of each sample")
            ->check(CLI::Range(int64_t{2}, recipe::kLongestSample));
        app.add_option("--seed", options->seed,
                       "of calibration windows and sampling (default: the recipe's)")
            ->check(CLI::Range(uint64_t{0}, uint64_t{std::numeric_limits<int64_t>::max()}));
        app.add_option("--layout", options->layout,
                       "halftone (compressed-tensors wherever it can hold everything), gptq, "
                       "gptq_v1, gptq_v2")
            ->check(CLI::IsMember(recipe::layout_names()));
        app.add_option(
               "--spill-gb", options->spill_gb,
               "activations kept in memory, before hidden states go to disk and before what "
               "lies between is computed twice (default 1)")
            ->check(CLI::Range(0.0, 1e6));
        app.add_option("--memory-gb", options->memory_gb,
                       "refuse to start when the estimate is above this (default: no limit)")
            ->check(CLI::Range(0.001, 1e6));
        app.add_flag("--plan", options->plan,
                     "print size, true bits, peak memory and time, and stop");
        app.add_flag("--resume", options->resume,
                     "go on with an interrupted run; a finished output is checked, not refused");
        app.add_flag("--force", options->force, "replace an existing output folder");
        app.add_flag("--strict", options->strict,
                     "a layer that falls back to nearest ends the run");
        auto* windows =
            app.add_option("--measure-windows", options->measure_windows,
                           "windows of 512 tokens that the result is measured on (default 4)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_flag("--no-measure", options->no_measure,
                     "do not measure what was lost (otherwise: the loss card, and measured.json)")
            ->excludes(windows);
        app.add_flag("--explain", options->explain,
                     "say in plain words what was done, what fell back, and what the figures mean");
        session.add_device(app);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        app.add_flag("-v,--verbose", session.verbose,
                     "print each layer's error and its ratio to nearest as it is done");
        return [options, &session] {
          // `--data` names the calibration set in one word too: a set's name or a file, where a
          // folder would be a place to look.
          const auto info = options->data.empty() ? std::nullopt : session.env->stat(options->data);
          if (!options->data.empty() && options->calibration.empty() &&
              !(info && info->is_directory)) {
            options->calibration = options->data;
            options->data.clear();
          }
          return quantize_model(session, *options);
        };
      }};
}

}  // namespace halftone::cli
