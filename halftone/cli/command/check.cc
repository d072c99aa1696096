// halftone check: what a quantized model lost, where it lost it, and what is wrong with its files.
//
// Of any file that the engine reads. With a reference the damage is laid at blocks, roles and
// linears by running models mixed of the two (runtime/mixed_logits.h); without, perplexity and the
// files have to do.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/cli/model_findings.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/session.h"
#include "halftone/eval/damage.h"
#include "halftone/eval/perplexity.h"
#include "halftone/eval/task.h"
#include "halftone/pack/weight_error.h"
#include "halftone/recipe/preflight.h"
#include "halftone/runtime/mixed_logits.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

constexpr double kFolded = 0.01;       // difference of norms beyond rounding to 16 bits
constexpr double kWorthSaying = 0.02;  // of the KL: less is not worth a line of advice
constexpr int64_t kTakenApart = 2;     // blocks, the worst ones, whose linears are measured
constexpr size_t kAdvice = 5, kShown = 8;

struct Options {
  std::string model, reference, text, data;
  int64_t windows = 2, window = 512;
  bool fast = false;
};

struct Texts {
  std::string label;
  eval::Protocol protocol;
  std::vector<int32_t> ids;
  std::vector<std::vector<int32_t>> windows;
};

Texts cut_text(Session& session, const Options& options, const ModelText& text, int64_t context) {
  const auto encode = [&](std::string_view s) { return text.tokenizer.encode(s); };
  Texts out;
  if (options.text.empty()) {
    eval::ScoredText scored =
        eval::scored_text("wikitext2", files::Split::test, session.places, encode, session.context);
    out.label = scored.label;
    out.ids = std::move(scored.ids);
  } else {
    const files::TextSet own = files::read_text_file(
        *session.env, options.text, session.places.parquet, session.context.limits);
    out.label = own.label;
    out.ids = encode(own.joined());
  }
  // A token of room: the BOS that is tried in front.
  const int64_t window = std::min({options.window, context - 1, std::ssize(out.ids)});
  if (window < 2)
    throw InputError(out.label, "has too few tokens to score", "give more text with --text");
  out.protocol = eval::gptq_windows(std::ssize(out.ids), window, options.windows);
  for (const eval::Window& w : out.protocol.windows)
    out.windows.emplace_back(out.ids.begin() + w.begin, out.ids.begin() + w.end);
  return out;
}

// The reference whose weights halftone.json names by their hash, where it is one of the models in
// the cache.
std::string remembered_reference(const pack::PackedModel& model, const Context& context) {
  const spec::Checkpoint& checkpoint = model.checkpoint();
  const std::string path = join_path(checkpoint.path, "halftone.json");
  if (checkpoint.gguf || !context.env->stat(path)) return {};
  const Json receipt =
      parse_json(context.env->read_text(path, context.limits.json_file_bytes), path);
  const std::string wanted = receipt.value("/source/weights"_json_pointer, std::string());
  if (wanted.empty()) return {};
  for (const spec::NamedModel& named : spec::named_models()) {
    if (!context.env->stat(join_path(spec::cache_folder(), named.path))) continue;
    const spec::Checkpoint candidate = spec::open_checkpoint(named.name, context);
    if (candidate.spec.family == checkpoint.spec.family &&
        candidate.spec.width == checkpoint.spec.width &&
        recipe::scan_weights(candidate, {}, context) == wanted)
      return named.name;
  }
  return {};
}

// Mean negative log-likelihood of the windows' tokens but their first, `bos` in front of each where
// given.
double mean_nll(eval::LogitSource& source, const Texts& texts, std::optional<int32_t> bos) {
  double sum = 0, count = 0;
  for (const auto& window : texts.windows) {
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

Json json_of(const pack::Histogram& h) {
  return {{"rms", h.rms}, {"from", -h.kReach}, {"to", h.kReach}, {"counts", h.counts}};
}
Json json_of(const pack::Outliers& o) {
  return {{"largest_over_median", o.ratio}, {"count", o.count}, {"channels", o.channels}};
}

// What the files tell: labels, weights, text.
struct Files {
  std::vector<Finding> findings;
  Json weights = Json::array();
  bool readable = true;  // every linear
  bool related = true;   // no linear is further from the reference's than zeros are
};

Files look_at_files(const pack::PackedModel& model, const pack::PackedModel* reference,
                    const StoredBits& bits, const Context& context) {
  Files out;
  out.findings = label_findings(model, bits);
  for (const pack::WeightError& row : pack::weight_errors(model, reference, context)) {
    out.weights.push_back({{"op", row.op},
                           {"role", row.role},
                           {"relative_error", reference ? Json(row.relative) : Json()},
                           {"weights", json_of(row.weights)},
                           {"inputs", json_of(row.inputs)}});
    if (!row.refused.empty()) {
      out.readable = false;
      out.findings.push_back({Finding::Level::fault, "weights", row.op + ": " + row.refused});
    } else if (row.not_finite > 0) {
      out.readable = false;
      out.findings.push_back(
          {Finding::Level::fault, "weights",
           row.op + ": " + std::to_string(row.not_finite) + " weights are not finite"});
    } else if (row.relative > 1) {
      if (out.related)
        out.findings.push_back({Finding::Level::warning, "weights",
                                row.op +
                                    ": its weights are further from the reference's than "
                                    "zeros would be (" +
                                    significant(100 * row.relative) +
                                    " %): another model's, rotated or scaled"});
      out.related = false;
    }
  }
  return out;
}

Json json_of(const pack::Unit& unit, const eval::UnitDamage& d) {
  return {{"unit", unit.name},
          {"kind", pack::unit_kind_name(unit.kind)},
          {"kl_only", d.only},
          {"kl_without", d.without},
          {"saved", d.saved},
          {"bytes", unit.bytes},
          {"bytes_8bit", unit.bytes_8bit}};
}

// Units that hold nothing of each other, the most KL for a byte first.
Json advice(const std::vector<pack::Unit>& units, const std::vector<eval::UnitDamage>& damage) {
  std::vector<size_t> order;
  for (size_t u = 0; u < units.size(); ++u)
    if (damage[u].saved >= kWorthSaying && units[u].bytes_8bit > units[u].bytes) order.push_back(u);
  const auto extra = [&](size_t u) {
    return static_cast<double>(units[u].bytes_8bit - units[u].bytes);
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return damage[a].saved / extra(a) > damage[b].saved / extra(b);
  });
  Json out = Json::array();
  std::set<std::string> told;
  for (const size_t u : order) {
    const auto& ops = units[u].ops;
    if (std::any_of(ops.begin(), ops.end(), [&](const auto& op) { return told.contains(op); }))
      continue;
    told.insert(ops.begin(), ops.end());
    out.push_back({{"keep", units[u].name},
                   {"bits", 8},
                   {"predicted_kl_change", -damage[u].saved},
                   {"extra_bytes", extra(u)}});
    if (out.size() == kAdvice) break;
  }
  return out;
}

// Adds "layers" (error of the hidden states behind each block) and what stands out in them.
void add_layers(Json& result, const runtime::MixedLogits& mixed, const spec::ModelSpec& spec) {
  const auto &a = mixed.reference_states(), &b = mixed.quantized_states();
  std::vector<double> errors;
  Json rows = Json::array();
  for (int64_t block = 0; block < std::ssize(spec.blocks); ++block) {
    const Matrix<float>& hidden = a.at(block + 1);
    errors.push_back(eval::median_row_error(hidden, b.at(block + 1)));
    rows.push_back({{"block", spec.blocks[static_cast<size_t>(block)].name},
                    {"hidden_error", errors.back()},
                    {"activations", json_of(pack::histogram(hidden.data))},
                    {"channels", json_of(pack::outliers(hidden))}});
  }
  result["layers"] = std::move(rows);
  const auto first = eval::first_divergence(errors);
  result["diverges_above"] = eval::kDiverges;
  result["first_divergence"] = first ? Json(spec.blocks[static_cast<size_t>(*first)].name) : Json();
}

// Everything that takes both models.
void measure(Json& result, const std::shared_ptr<const pack::PackedModel>& model,
             const std::shared_ptr<const pack::PackedModel>& reference, const Texts& texts,
             const Options& options, Files& files, const Context& context) {
  runtime::MixedLogits mixed(reference, model, texts.windows, {}, context);
  add_layers(result, mixed, model->checkpoint().spec);
  std::vector<pack::Unit> units;
  if (!options.fast) units = pack::units(*reference, *model);
  const double folded = pack::norm_difference(*reference, *model);
  const bool blocks_only = folded > kFolded || !files.related;
  if (blocks_only && !options.fast) {
    files.findings.push_back(
        {Finding::Level::note, "folded",
         (folded > kFolded ? "its norms are not those of the reference: factors were folded into "
                             "them"
                           : "its weights are not the reference's, rounded") +
             std::string(", so only whole blocks are exchanged")});
    std::erase_if(units, [](const auto& u) { return u.kind != pack::Unit::Kind::block; });
  }
  const auto run = [&](const std::vector<pack::Unit>& some, double whole) {
    std::vector<std::string> names;
    for (const pack::Unit& u : some) names.push_back(u.name);
    return eval::unit_damage(
        mixed.reference(), whole, names,
        [&](size_t u, bool only) { return mixed.mixed(some[u], only); }, texts.ids, texts.protocol,
        context);
  };
  eval::Damage found = eval::damage(mixed.reference(), mixed.quantized(), {}, {}, texts.ids,
                                    texts.protocol, context);
  const eval::Divergence& whole = found.whole;
  result["card"].update({{"kl_mean", whole.kl_mean},
                         {"kl_ci95", whole.kl_ci95},
                         {"top1_agreement", whole.top1_agreement},
                         {"perplexity", whole.perplexity},
                         {"reference_perplexity", whole.reference_perplexity}});
  found.units = run(units, whole.kl_mean);
  if (!blocks_only && !units.empty()) {
    std::vector<size_t> worst;
    for (size_t u = 0; u < units.size(); ++u)
      if (units[u].kind == pack::Unit::Kind::block) worst.push_back(u);
    std::stable_sort(worst.begin(), worst.end(), [&](size_t a, size_t b) {
      return found.units[a].saved > found.units[b].saved;
    });
    if (std::ssize(worst) > kTakenApart) worst.resize(static_cast<size_t>(kTakenApart));
    std::vector<pack::Unit> linears;
    for (const size_t u : worst)
      for (pack::Unit& l : pack::linears_of(units[u], *reference, *model))
        linears.push_back(std::move(l));
    const auto more = run(linears, whole.kl_mean);
    units.insert(units.end(), linears.begin(), linears.end());
    found.units.insert(found.units.end(), more.begin(), more.end());
  }
  Json rows = Json::array();
  for (size_t u = 0; u < units.size(); ++u) rows.push_back(json_of(units[u], found.units[u]));
  result["units"] = std::move(rows);
  result["advice"] = advice(units, found.units);
}

// The tokenizer adds no BOS: does the model read the text better with one?
void try_bos(Json& result, const std::shared_ptr<const pack::PackedModel>& model,
             const ModelText& text, const Texts& texts, Files& files, const Context& context) {
  runtime::RuntimeLogits source(runtime::Model::load(model, {}, context), {}, context);
  const double plain = std::exp(mean_nll(source, texts, {}));
  result["card"]["perplexity"] = plain;
  if (text.tokenizer.adds_bos() || !text.tokenizer.special().bos) return;
  const double with = std::exp(mean_nll(source, texts, text.tokenizer.special().bos));
  result["card"]["perplexity_with_bos"] = with;
  if (with < 0.95 * plain)
    files.findings.push_back({Finding::Level::warning, "bos",
                              "its tokenizer adds no BOS, and with one in front perplexity falls "
                              "from " +
                                  significant(plain, 4) + " to " + significant(with, 4)});
}

void print_units(Terminal& t, const Json& units, std::string_view kind, std::string_view title,
                 size_t most) {
  std::vector<Json> rows;
  for (const Json& row : units)
    if (row["kind"] == kind) rows.push_back(row);
  if (rows.empty()) return;
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) {
    return a["saved"].get<double>() > b["saved"].get<double>();
  });
  TextTable table{
      {std::string(title), "KL, it alone", "KL, all but it", "saved %", "MB", "MB at 8 bits"}, {}};
  for (size_t i = 0; i < std::min(most, rows.size()); ++i) {
    const Json& row = rows[i];
    table.rows.push_back({row["unit"].get<std::string>(), significant(row["kl_only"].get<double>()),
                          significant(row["kl_without"].get<double>()),
                          fixed(100 * row["saved"].get<double>(), 1),
                          significant(row["bytes"].get<double>() / 1e6),
                          significant(row["bytes_8bit"].get<double>() / 1e6)});
  }
  t.out(table.text());
  if (rows.size() > most)
    t.out("  and " + std::to_string(rows.size() - most) + " more (--json has all)");
}

void print_card(Terminal& t, const Json& result) {
  const Json& card = result["card"];
  t.out(result["model"].get<std::string>() + ": " + result["family"].get<std::string>() + ", " +
        bytes_text(card["bytes"].get<double>()) + ", " +
        significant(card["bits_per_weight"].get<double>(), 4) + " bits a weight; its linears " +
        significant(card["linear_bits"].get<double>(), 4) + ", codes alone " +
        significant(card["linear_code_bits"].get<double>(), 4));
  if (card.contains("kl_mean")) {
    t.out("against " + result["reference"].get<std::string>() + ": KL " +
          significant(card["kl_mean"].get<double>()) + " nats a token" +
          (result["windows"] == 1 ? ""
                                  : " (" + significant(card["kl_ci95"][0].get<double>(), 2) + ".." +
                                        significant(card["kl_ci95"][1].get<double>(), 2) + ")") +
          ", same first choice " + significant(100 * card["top1_agreement"].get<double>()) +
          " %, perplexity " + significant(card["perplexity"].get<double>(), 4) + " (" +
          significant(card["reference_perplexity"].get<double>(), 4) + "), " +
          significant(card["compression"].get<double>()) + " times smaller");
  } else if (card.contains("perplexity")) {
    t.out("perplexity " + significant(card["perplexity"].get<double>(), 4));
  }
  if (result.contains("windows"))
    t.out("on " + result["windows"].dump() + " windows of " + result["window"].dump() +
          " tokens of " + result["data"].get<std::string>() + ", mode exact");
}

void print_layers(Terminal& t, const Json& result) {
  t.out("");
  const Json& first = result["first_divergence"];
  t.out("hidden states are off by more than " +
        significant(100 * result["diverges_above"].get<double>(), 2) + " % " +
        (first.is_null() ? "nowhere" : "from " + first.get<std::string>() + " on") +
        "; behind the last block by " +
        significant(100 * result["layers"].back()["hidden_error"].get<double>(), 3) + " %");
  const auto widest = std::max_element(
      result["layers"].begin(), result["layers"].end(), [](const Json& a, const Json& b) {
        return a["channels"]["largest_over_median"] < b["channels"]["largest_over_median"];
      });
  const Json& channels = (*widest)["channels"];
  t.out("largest channel of hidden states: " +
        significant(channels["largest_over_median"].get<double>()) + " times the median, behind " +
        (*widest)["block"].get<std::string>() + " (" + channels["count"].dump() + " beyond " +
        fixed(pack::kOutlier, 0) + " times: " + channels["channels"].dump() + ")");
}

// The linears whose weights are furthest from the reference's.
void print_weights(Terminal& t, const Json& weights) {
  std::vector<Json> rows(weights.begin(), weights.end());
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) {
    return a["relative_error"].get<double>() > b["relative_error"].get<double>();
  });
  TextTable table{{"weights furthest off", "error %", "largest input / median"}, {}};
  for (size_t i = 0; i < std::min<size_t>(5, rows.size()); ++i)
    table.rows.push_back({rows[i]["op"].get<std::string>(),
                          significant(100 * rows[i]["relative_error"].get<double>()),
                          significant(rows[i]["inputs"]["largest_over_median"].get<double>())});
  t.out("");
  t.out(table.text());
}

void print_result(Terminal& t, const Json& result) {
  print_card(t, result);
  for (const Json& f : result["findings"])
    t.out(f["level"].get<std::string>() + ": " + f["text"].get<std::string>());
  if (result["findings"].empty()) t.out("nothing wrong with its files");
  if (!result.contains("layers")) return;
  print_layers(t, result);
  print_weights(t, result["weights"]);
  print_units(t, result["units"], "role", "role", kShown);
  print_units(t, result["units"], "table", "table", kShown);
  print_units(t, result["units"], "block", "block", kShown);
  print_units(t, result["units"], "linear", "linears of the worst blocks", kShown);
  if (result["advice"].empty()) return;
  for (const Json& a : result["advice"])
    t.out("keep " + a["keep"].get<std::string>() + " at " + a["bits"].dump() + " bits: KL " +
          fixed(100 * a["predicted_kl_change"].get<double>(), 0) + " %, +" +
          bytes_text(a["extra_bytes"].get<double>()));
  t.out("predictions: what the KL loses with that part in full precision, each by itself");
}

int check_model(Session& session, Options options) {
  const Context& context = session.start();
  if (!options.data.empty()) session.places.data_dir = options.data;
  const auto model = pack::open_model(options.model, context);
  if (options.reference.empty()) options.reference = remembered_reference(*model, context);
  std::shared_ptr<const pack::PackedModel> reference;
  if (!options.reference.empty()) reference = pack::open_model(options.reference, context);
  const StoredBits bits = stored_bits(*model);
  Files files = look_at_files(*model, reference.get(), bits, context);

  std::optional<ModelText> text, theirs;
  if (reference) theirs = open_text(reference->checkpoint(), context);
  try {
    text = open_text(model->checkpoint(), context);
    const auto said = text_findings(options.model, *text, theirs ? &*theirs : nullptr);
    files.findings.insert(files.findings.end(), said.begin(), said.end());
  } catch (const Error& e) {
    if (e.code() != Code::missing) throw;
    files.findings.push_back({Finding::Level::fault, "tokenizer", "has no tokenizer"});
  }

  Json result = {{"model", options.model},
                 {"path", model->checkpoint().path},
                 {"family", model->checkpoint().spec.family},
                 {"reference", reference ? Json(options.reference) : Json()},
                 {"card",
                  {{"bytes", model->weight_bytes()},
                   {"bits_per_weight", model->bits_per_weight()},
                   {"linear_bits", bits.bits_per_weight},
                   {"linear_bits_mean", bits.mean_of_linears},
                   {"linear_code_bits", bits.nominal}}}};
  if (reference)
    result["card"]["compression"] =
        static_cast<double>(reference->weight_bytes()) / static_cast<double>(model->weight_bytes());
  const bool speaks = model->checkpoint().spec.output == spec::ModelSpec::Output::language_model;
  if (files.readable && speaks && (text || theirs)) {
    // The reference's tokens where there is one: both models are to read the same.
    const Texts texts =
        cut_text(session, options, theirs ? *theirs : *text, model->checkpoint().spec.context);
    if (text && theirs) {
      const std::string some = theirs->tokenizer.decode(texts.windows[0]);
      if (text->tokenizer.encode(some, false) != theirs->tokenizer.encode(some, false))
        files.findings.push_back({Finding::Level::fault, "tokenizer",
                                  "its tokenizer cuts text into other tokens than the reference's "
                                  "(which are used here)"});
    }
    result["data"] = texts.label;
    result["protocol"] = texts.protocol.name;
    result["windows"] = texts.windows.size();
    result["window"] = texts.windows[0].size();
    if (reference)
      measure(result, model, reference, texts, options, files, context);
    else
      try_bos(result, model, *text, texts, files, context);
  }
  Json findings = Json::array();
  for (const Finding& f : files.findings)
    findings.push_back({{"level", level_name(f.level)}, {"kind", f.kind}, {"text", f.text}});
  result["findings"] = std::move(findings);
  result["weights"] = std::move(files.weights);
  session.print(result, [&] { print_result(session.terminal, result); });
  return files.readable ? 0 : static_cast<int>(exit_for(Code::nonfinite));
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
          "  halftone check out/gptq4 --reference smollm2-fp --json > damage.json",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model, "any model that the engine reads")->required();
        app.add_option("--reference", options->reference,
                       "what it was made from (default: the model that halftone.json names by its "
                       "hash, if it is in the cache)");
        app.add_option("--windows", options->windows, "windows of text to score (default 2)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--window", options->window, "tokens a window (default 512)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_flag("--fast", options->fast,
                     "loss card, files and hidden states only: no unit is exchanged");
        app.add_option(
            "--text", options->text,
            "score this .txt, .jsonl or .parquet file instead of wikitext2's test split");
        app.add_option("--data", options->data, "folder of data sets (default: HALFTONE_DATA)");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return check_model(session, *options); };
      }};
}

}  // namespace halftone::cli
