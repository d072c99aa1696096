// halftone check: what a quantized model lost, where it lost it, and what is wrong with its files.
//
// Of any file that the engine reads. With a reference the damage is laid at blocks, roles and
// linears by running models mixed of the two (runtime/mixed_logits.h); without, perplexity and the
// files have to do.
#include <algorithm>
#include <cmath>
#include <optional>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/cli/check_text.h"
#include "halftone/cli/divergence_json.h"
#include "halftone/cli/measure.h"
#include "halftone/cli/model_damage.h"
#include "halftone/cli/model_findings.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/session.h"
#include "halftone/cli/text_options.h"
#include "halftone/eval/damage.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/perplexity.h"
#include "halftone/pack/compression.h"
#include "halftone/pack/mixed_model.h"
#include "halftone/pack/weight_error.h"
#include "halftone/recipe/preflight.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/mixed_logits.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

constexpr double kBetterWithBos = 0.95;  // of the perplexity without

struct Options {
  std::string model, reference, text, data;
  int64_t windows = eval::kDamageWindows, window = eval::kDamageWindow;
  bool fast = false, fresh = false;
};

// What a model was made from, and what says so.
struct Reference {
  std::string name, from;
};

// As measured.json names it; else the model in the cache whose weights halftone.json (`receipt`) has
// the hash of. Where there is that hash, both are held to it.
Reference remembered_reference(const pack::PackedModel& model, const Json& receipt,
                               const Context& context) {
  const spec::Checkpoint& checkpoint = model.checkpoint();
  if (checkpoint.gguf) return {};
  const std::string wanted = receipt.value("/source/weights"_json_pointer, std::string());
  const auto is_source = [&](const std::string& name) {
    const spec::Checkpoint candidate = spec::open_checkpoint(name, context);
    return candidate.spec.family == checkpoint.spec.family &&
           candidate.spec.width == checkpoint.spec.width &&
           (wanted.empty() || recipe::scan_weights(candidate, {}, context) == wanted);
  };
  try {
    const auto measured = read_measured(checkpoint.path, context);
    const Json named = measured ? measured->value("reference", Json()) : Json();
    if (named.is_string()) {
      if (is_source(named)) return {named, "measured.json"};
      context.warn("measured.json names " + named.get<std::string>() +
                   " as the reference, which holds other weights now");
    }
  } catch (const Error& e) {
    if (e.code() == Code::interrupted) throw;
    context.warn("the reference of measured.json is not used: " + e.line());
  }
  if (wanted.empty()) return {};
  for (const spec::NamedModel& named : spec::named_models())
    if (context.env->stat(join_path(spec::cache_folder(), named.path)) && is_source(named.name))
      return {named.name, "the hash in halftone.json"};
  return {};
}

// Mean negative log-likelihood of the windows' tokens but their first, `bos` in front of each where
// given.
double mean_nll(eval::LogitSource& source, const CutText& texts, std::optional<int32_t> bos) {
  double sum = 0, count = 0;
  for (const auto& window : texts.windows()) {
    std::vector<int32_t> ids = window;
    if (bos) ids.insert(ids.begin(), *bos);
    source.each_row(ids, bos ? 1 : 0, [&](int64_t position, std::span<const float> row) {
      if (position + 1 >= std::ssize(ids)) return;
      sum += eval::nll(row, ids[static_cast<size_t>(position + 1)], position, source.label());
      ++count;
    });
  }
  return sum / count;
}

// What the files tell: labels, weights, text.
struct Files {
  std::vector<Finding> findings;
  Json weights = Json::array();
  std::optional<Code> broken;  // what is wrong with the first linear that cannot be run
};

Files look_at_files(const pack::PackedModel& model, const pack::PackedModel* reference,
                    const Context& context) {
  Files out;
  out.findings = pack::label_findings(model);
  int64_t unrelated = 0;
  const pack::WeightError* first = nullptr;
  const pack::PackedModel* const models[] = {&model};
  const auto rows = pack::weight_errors(models, reference, context);
  out.weights = weights_of(model, rows[0], reference != nullptr);
  for (size_t i = 0; i < rows[0].size(); ++i) {
    const pack::WeightError& row = rows[0][i];
    out.weights[i]["weights"] = json_of(row.weights);
    out.weights[i]["inputs"] = json_of(row.inputs);
    if (row.refused) {
      if (!out.broken) out.broken = row.refused->code();
      out.findings.push_back(
          {Finding::Level::fault, "weights", row.op + ": " + row.refused->what()});
    } else if (row.not_finite > 0) {
      if (!out.broken) out.broken = Code::nonfinite;
      out.findings.push_back(
          {Finding::Level::fault, "weights",
           row.op + ": " + std::to_string(row.not_finite) + " weights are not finite"});
    } else if (row.relative > 1) {
      if (unrelated++ == 0) first = &row;
    }
  }
  if (first != nullptr)
    out.findings.push_back(
        {Finding::Level::warning, "weights",
         first->op + (unrelated > 1 ? " and " + std::to_string(unrelated - 1) + " more" : "") +
             ": weights further from the reference's than zeros would be (" +
             significant(100 * first->relative) + " %): another model's, rotated or scaled",
         "give the very model that was rounded as --reference"});
  return out;
}

// Everything that takes both models.
void measure(Json& result, const std::shared_ptr<const pack::PackedModel>& model,
             const std::shared_ptr<const pack::PackedModel>& reference, const CutText& texts,
             Files& files, RunJournal* journal, const Context& context) {
  runtime::MixedLogits mixed(reference, model, texts.windows(), {}, context);
  add_layers(result, mixed.reference_states(), &mixed.quantized_states(), model->checkpoint().spec);
  add_inputs(result, mixed.reference_model(), mixed.reference_states(), context);
  eval::LogitSource* const candidate = &mixed.quantized();
  const eval::Divergence whole =
      eval::divergence(mixed.reference(), {&candidate, 1}, texts.ids, texts.protocol, context)[0];
  result["card"].update(to_json(whole));
  const std::string why = why_only_blocks(*reference, *model, files.weights);
  if (!why.empty())
    files.findings.push_back(
        {Finding::Level::note, "folded", why + ", so only whole blocks are exchanged"});
  if (journal == nullptr) return;
  resumable([&] {
    add_units(result,
              {.model = *model,
               .reference = *reference,
               .mixed = mixed,
               .ids = texts.ids,
               .protocol = texts.protocol,
               .whole_kl = whole.kl_mean,
               .blocks_only = !why.empty(),
               .memory = journal->memory()},
              context);
  });
}

// The tokenizer adds no BOS: does the model read the text better with one?
void try_bos(Json& result, eval::LogitSource& source, const ModelText& text, const CutText& texts,
             Files& files) {
  const double plain = std::exp(mean_nll(source, texts, {}));
  result["card"]["perplexity"] = plain;
  if (text.tokenizer.adds_bos() || !text.tokenizer.special().bos) return;
  const double with = std::exp(mean_nll(source, texts, text.tokenizer.special().bos));
  result["card"]["perplexity_with_bos"] = with;
  if (with < kBetterWithBos * plain)
    files.findings.push_back({Finding::Level::note, "bos",
                              text.tokenizer.source() +
                                  ": adds no BOS, and with one in front perplexity falls from " +
                                  significant(plain, 4) + " to " + significant(with, 4),
                              "let its tokenizer add one if the model was trained so"});
}

// What a model does without a reference.
void look_alone(Json& result, const std::shared_ptr<const pack::PackedModel>& packed,
                const ModelText& text, const CutText& texts, Files& files, const Context& context) {
  const auto model = runtime::Model::load(packed, {}, context);
  const runtime::HiddenStates states(model, texts.windows(), context);
  add_layers(result, states, nullptr, model->spec());
  add_inputs(result, model, states, context);
  runtime::RuntimeLogits source(model, {}, context);
  try_bos(result, source, text, texts, files);
}

// Nothing where a model has no tokenizer.
std::optional<ModelText> text_of(const spec::Checkpoint& checkpoint, const Context& context) {
  try {
    return open_text(checkpoint, context);
  } catch (const Error& e) {
    if (e.code() != Code::missing) throw;
    return {};
  }
}

void look_at_text(Files& files, const Options& options, const std::optional<ModelText>& text,
                  const std::optional<ModelText>& theirs) {
  if (!text) {
    files.findings.push_back({Finding::Level::fault, "tokenizer", "has no tokenizer",
                              theirs ? "take the reference's"
                                     : "put tokenizer.json beside the weights: nothing was run"});
    return;
  }
  for (Finding& f : text_findings(options.model, *text, theirs ? &*theirs : nullptr))
    files.findings.push_back(std::move(f));
}

int check_model(Session& session, Options options) {
  const Context& context = session.start();
  const auto model = pack::open_model(options.model, context);
  const spec::Checkpoint& checkpoint = model->checkpoint();
  const Json receipt = read_receipt(checkpoint.path, context);
  const Reference source = options.reference.empty()
                               ? remembered_reference(*model, receipt, context)
                               : Reference{options.reference, "--reference"};
  std::shared_ptr<const pack::PackedModel> reference;
  if (!source.name.empty()) {
    reference = pack::open_model(source.name, context);
    pack::check_mixable(*reference, *model);
  }
  const pack::Compression bits = pack::compression(*model);
  Files files = look_at_files(*model, reference.get(), context);
  const auto text = text_of(checkpoint, context);
  const auto theirs = reference ? text_of(reference->checkpoint(), context) : std::nullopt;
  look_at_text(files, options, text, theirs);
  Json result = {{"model", options.model},
                 {"path", checkpoint.path},
                 {"family", checkpoint.spec.family},
                 {"reference", reference ? Json(source.name) : Json()},
                 {"reference_from", reference ? Json(source.from) : Json()},
                 {"card",
                  {{"bytes", model->weight_bytes()},
                   {"bits_per_weight", bits.effective},
                   {"nominal_bits", bits.nominal},
                   {"layer_mean_bits", bits.layer_mean},
                   {"linear_bits", bits.linears}}}};
  if (reference) {
    result["card"]["reference_bytes"] = reference->weight_bytes();
    result["card"]["compression"] =
        static_cast<double>(reference->weight_bytes()) / static_cast<double>(model->weight_bytes());
  }
  std::optional<RunJournal> journal;
  const bool speaks = checkpoint.spec.output == spec::ModelSpec::Output::language_model;
  if (!files.broken && speaks && (text || theirs)) {
    // The reference's tokens where there is one: both models are to read the same.
    const ModelText& reads = theirs ? *theirs : *text;
    const auto encode = [&](std::string_view s) { return reads.tokenizer.encode(s); };
    // A token of room: the BOS that is tried in front.
    const CutText texts =
        cut(TextChoice(options.text, options.data, session).encoded(encode),
            std::min(options.window, checkpoint.spec.context - 1), options.windows);
    if (text && theirs) {
      const std::string some =
          theirs->tokenizer.decode(std::span(texts.ids).first(static_cast<size_t>(texts.window)));
      if (text->tokenizer.encode(some, false) != theirs->tokenizer.encode(some, false))
        files.findings.push_back({Finding::Level::fault, "tokenizer",
                                  text->tokenizer.source() +
                                      ": cuts text into other tokens than the reference's (which "
                                      "are used here)",
                                  "take the reference's tokenizer"});
    }
    result["data"] = texts.label;
    result["protocol"] = texts.protocol.name;
    result["windows"] = texts.protocol.windows.size();
    result["window"] = texts.window;
    if (reference) {
      if (!options.fast)
        journal.emplace(context, checkpoint.path,
                        "check " + files_fingerprint(*context.env, reference->checkpoint().path) +
                            " " + texts.protocol.name + " " +
                            std::to_string(texts.protocol.windows.size()),
                        options.fresh);
      measure(result, model, reference, texts, files, journal ? &*journal : nullptr, context);
    } else {
      look_alone(result, model, *text, texts, files, context);
    }
  }
  Json findings = Json::array();
  for (const Finding& f : files.findings) {
    findings.push_back({{"level", pack::level_name(f.level)}, {"kind", f.kind}, {"text", f.text}});
    if (!f.remedy.empty()) findings.back()["remedy"] = f.remedy;
  }
  result["findings"] = std::move(findings);
  result["weights"] = std::move(files.weights);
  session.print(result, [&] { print_check(session.terminal, result, receipt); });
  if (journal) journal->remove();
  return files.broken ? static_cast<int>(exit_for(*files.broken)) : 0;
}

}  // namespace

Command check() {
  return {
      .summary = "what a quantized model lost and where, and what is wrong with its files",
      .examples =
          "  halftone check out/rtn4                        (the reference: what it was made from, "
          "if it is in the cache)\n"
          "  halftone check someone/model.Q4_K_M.gguf --reference org/model\n"
          "  halftone check out/gptq4 --reference smollm2-fp --windows 8\n"
          "  halftone check out/gptq4 --reference smollm2-fp --fast     (no models mixed: "
          "seconds)\n"
          "  halftone check out/gptq4 --reference smollm2-fp --json > damage.json\n"
          "A run that was killed goes on when the same command is given again.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model, "any model that the engine reads")->required();
        app.add_option("--reference", options->reference,
                       "what it was made from (default: as measured.json names it, else the model "
                       "in the cache that has the hash of halftone.json)");
        app.add_option("--windows", options->windows, "windows of text to score (default 2)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--window", options->window, "tokens a window (default 256)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_flag("--fast", options->fast,
                     "loss card, files and hidden states only: no unit is exchanged");
        app.add_flag("--fresh", options->fresh,
                     "do not go on with an earlier run that was interrupted");
        add_text(app, options->text, options->data);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return check_model(session, *options); };
      }};
}

}  // namespace halftone::cli
