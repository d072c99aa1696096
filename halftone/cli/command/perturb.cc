// halftone perturb: how robust a quantized model is. Noise of a part of a quantization step on its
// weights, and on what its linears read; what that does to its answers, over several draws.
#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/session.h"
#include "halftone/cli/text_options.h"
#include "halftone/eval/robustness.h"
#include "halftone/pack/dense_copy.h"
#include "halftone/runtime/hidden_states.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/noise.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, text, data;
  std::vector<double> fractions = {0.1, 0.25, 0.5};
  int64_t seeds = 5, windows = 2, window = 512;
  bool fresh = false;
};

Json json_of(const eval::Spread& spread) {
  return {{"mean", spread.mean}, {"variance", spread.variance ? Json(*spread.variance) : Json()}};
}

void print_rows(Terminal& t, const Json& result, const std::string& left_out) {
  TextTable table{
      {"noise on", "of a step", "KL mean", "variance", "drop nats", "variance", "perplexity"}, {}};
  const double perplexity = result["perplexity"].get<double>();
  const auto figure = [](const Json& value) {
    return value.is_null() ? std::string("-") : significant(value.get<double>());
  };
  for (const Json& row : result["rows"])
    table.rows.push_back(
        {row["noise"].get<std::string>(), significant(row["fraction"].get<double>(), 2),
         figure(row["kl"]["mean"]), figure(row["kl"]["variance"]), figure(row["drop"]["mean"]),
         figure(row["drop"]["variance"]),
         significant(perplexity * std::exp(row["drop"]["mean"].get<double>()), 5)});
  t.out(table.text());
  t.out("without noise: perplexity " + significant(perplexity, 5) + "; " + result["seeds"].dump() +
        " draws each, " + counted(result["windows"].get<int64_t>(), "window") + " of " +
        result["window"].dump() + " tokens of " + result["data"].get<std::string>() + left_out +
        ", mode exact");
  t.out(
      "noise is uniform in +- that part of a step: of each weight's group; of inputs, what 8 bits "
      "for 64 of them would have. Variances are over draws.");
}

int perturb_model(Session& session, const Options& options) {
  const Context& context = session.start();
  const auto packed = pack::open_model(options.model, context);
  const auto linears = spec::linears(packed->checkpoint().spec);
  if (std::none_of(linears.begin(), linears.end(),
                   [&](const auto& ref) { return packed->steps(*ref.op).has_value(); }))
    throw InputError(options.model, "has no quantized linears, so there is no step",
                     "give a model that halftone quantize or another quantizer wrote");
  if (packed->checkpoint().spec.output != spec::ModelSpec::Output::language_model)
    throw InputError(options.model, "is no language model: it has no next token to get wrong");
  const TextChoice choice(options.text, options.data, session);
  const ModelText text = open_text(packed->checkpoint(), context);
  const CutText scored =
      cut(choice.encoded([&](std::string_view s) { return text.tokenizer.encode(s); }),
          std::min(options.window, packed->checkpoint().spec.context), options.windows);
  RunJournal journal(context, packed->checkpoint().path, "perturb", options.fresh);

  const auto clean = runtime::Model::load(pack::dense_copy(packed, DType::f32), {}, context);
  const runtime::HiddenStates states(clean, scored.windows(), context);
  runtime::ResumedLogits reference(clean, states, std::ssize(clean->spec().blocks), context);
  const runtime::SessionOptions room{.max_tokens = scored.window};
  const auto on_weights = [&](double fraction,
                              uint64_t seed) -> std::unique_ptr<eval::LogitSource> {
    return std::make_unique<runtime::RuntimeLogits>(
        runtime::Model::load(
            pack::dense_copy(packed, DType::f32, runtime::weight_noise(fraction, seed)), {},
            context),
        room, context);
  };
  const auto on_inputs = [&](double fraction, uint64_t seed) -> std::unique_ptr<eval::LogitSource> {
    auto source = std::make_unique<runtime::RuntimeLogits>(clean, room, context);
    source->disturb(runtime::input_noise(fraction, seed, context));
    return source;
  };
  double done = 0, perplexity = 0;
  const auto total = static_cast<double>(2 * options.seeds * std::ssize(options.fractions));
  Json rows = Json::array();
  const auto run = [&](const char* noise, const auto& disturbed) {
    for (const double fraction : options.fractions) {
      const eval::Robustness found =
          eval::robustness(reference, [&](uint64_t seed) { return disturbed(fraction, seed); },
                           options.seeds, scored.ids, scored.protocol, context,
                           {.memory = journal.memory(),
                            .noise = std::string(noise) + " " + Json(fraction).dump(),
                            .done = [&] {
                              context.progress({"perturb", noise, ++done, total, ""});
                              context.throw_if_stopped();
                            }});
      perplexity = found.reference_perplexity;
      rows.push_back({{"noise", noise},
                      {"fraction", fraction},
                      {"kl", json_of(found.kl_spread)},
                      {"drop", json_of(found.drop_spread)},
                      {"kl_by_seed", found.kl},
                      {"drop_by_seed", found.drop}});
    }
  };
  run("weights", on_weights);
  run("inputs", on_inputs);
  Json result = {{"model", options.model},           {"data", scored.label},
                 {"protocol", scored.protocol.name}, {"windows", scored.protocol.windows.size()},
                 {"window", scored.window},          {"tokens_dropped", scored.protocol.dropped},
                 {"seeds", options.seeds},           {"mode", "exact"},
                 {"perplexity", perplexity},         {"rows", rows}};
  if (scored.blank_lines > 0) result["blank_lines"] = scored.blank_lines;
  session.print(result, [&] {
    print_rows(session.terminal, result, eval::left_out_text(scored.protocol, scored.blank_lines));
  });
  journal.remove();
  return 0;
}

}  // namespace

Command perturb() {
  return {.summary = "how robust a quantized model is to noise on its weights and activations",
          .examples =
              "  halftone perturb out/gptq4\n"
              "  halftone perturb SmolLM2-Q4_K_M.gguf --seeds 2\n"
              "  halftone perturb out/gptq4 --fractions 0.5,1 --seeds 20 --windows 4 --json\n"
              "A run that was killed goes on when the same command is given again.",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("MODEL", options->model, "a quantized model in any layout")->required();
            app.add_option(
                   "--fractions", options->fractions,
                   "noise, in parts of a step (default 0.1,0.25,0.5; rounding itself is 0.5)")
                ->delimiter(',')
                ->check(CLI::Range(0.0, 1e3));
            app.add_option("--seeds", options->seeds, "draws of each noise (default 5)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
            app.add_option("--windows", options->windows, "windows of text to score (default 2)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
            app.add_option("--window", options->window, "tokens a window (default 512)")
                ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
            app.add_flag("--fresh", options->fresh,
                         "do not go on with an earlier run that was interrupted");
            add_text(app, options->text, options->data);
            session.add_threads(app);
            session.add_json(app);
            session.add_quiet(app);
            return [options, &session] {
              return resumable([&] { return perturb_model(session, *options); });
            };
          }};
}

}  // namespace halftone::cli
