// halftone verify: is a model still what was written, and does it still lose what was measured?
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/cli/measure.h"
#include "halftone/cli/text_options.h"
#include "halftone/pack/packed_model.h"
#include "halftone/report/loss_card.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, reference, data;
  bool no_speed = false, explain = false;
};

// Mode exact gives the same bits at any thread count; another build's exp and log may differ in the
// last one.
constexpr double kRelative = 1e-9;

struct Figure {
  std::string name;
  Json before, now;
  bool compared = true;  // speed and memory are shown only
  bool equal() const {
    if (!before.is_number() || !now.is_number()) return before == now;
    const double a = before.get<double>(), b = now.get<double>();
    return std::abs(a - b) <= kRelative * std::max(std::abs(a), std::abs(b));
  }
};

// Compares every tensor with halftone.json, whether anybody reads it or not; returns how many.
int64_t check_tensors(const pack::PackedModel& model, const Context& context) {
  const files::TensorSource& tensors = *model.checkpoint().tensors;
  const auto total = static_cast<double>(tensors.tensors().size());
  int64_t done = 0;
  for (const auto& info : tensors.tensors()) {
    context.throw_if_stopped();
    tensors.mapped(info.name);  // compares the whole tensor, mapped or not
    context.progress({"check", info.name, static_cast<double>(++done), total, ""});
  }
  return done;
}

MeasuredText text_of(const Json& protocol, const std::string& reference, const Session& session) {
  const std::string label = protocol.value("data", std::string());
  if (protocol.contains("ids")) return {label, protocol["ids"].get<std::vector<int32_t>>(), false};
  auto named = wikitext_for(reference, session);
  if (!named)
    throw FileError(Code::missing, "wikitext2",
                    "the text that the model was measured on is not on this machine", {},
                    "set HALFTONE_DATA to the folder that holds it, or give --data");
  return std::move(*named);
}

std::vector<Figure> figures(const Json& before, const Json& now) {
  std::vector<Figure> out;
  const auto add = [&](const std::string& pointer, const std::string& name, bool compared) {
    const Json::json_pointer at(pointer);
    const Json a = before.contains(at) ? before[at] : Json(),
               b = now.contains(at) ? now[at] : Json();
    if (compared ? !a.is_null() || !b.is_null() : !a.is_null() && !b.is_null())
      out.push_back({name, a, b, compared});
  };
  add("/fingerprint", "fingerprint", true);
  add("/protocol/ids_hash", "test text", true);
  add("/protocol/positions", "positions", true);
  for (const char* key : {"bytes", "reference_bytes", "bits_per_weight", "nominal_bits"})
    add("/size/" + std::string(key), key, true);
  for (const char* key : {"kl_mean", "kl_median", "kl_p90", "kl_p99", "kl_max", "js_mean",
                          "top1_agreement", "top5_agreement", "reference_perplexity", "perplexity"})
    add("/divergence/" + std::string(key), key, true);
  for (const char* key : {"prefill_tok_s", "decode_tok_s", "load_ms"})
    add("/speed/model/" + std::string(key), key, false);
  add("/memory/peak_rss_bytes", "peak_rss_bytes", false);
  return out;
}

std::string shown(const Json& value) {
  return value.is_number_float() ? significant(value.get<double>(), 6)
         : value.is_string()     ? value.get<std::string>().substr(0, 12)
         : value.is_null()       ? "-"
                                 : value.dump();
}

int verify_model(Session& session, const Options& options) {
  const Context& context = session.start();
  if (!options.data.empty()) session.places.data_dir = options.data;
  const auto model = pack::open_model(options.model, context);
  const std::string folder = model->checkpoint().path;
  const Json receipt = read_receipt(folder, context);
  const int64_t tensors = check_tensors(*model, context);
  const bool hashed = receipt.contains("tensors");
  if (!hashed)
    context.warn(folder + " has no halftone.json with hashes: its bytes cannot be checked");
  const auto before = read_measured(folder, context);
  if (!before)
    throw FileError(Code::missing, join_path(folder, "measured.json"),
                    "is not there: nobody has measured this model", {},
                    "the command that made it measures it, when it is given again");
  MeasureRequest request{
      .model = options.model, .reference = options.reference, .text = {}, .calibration = {}};
  Json now;
  try {
    if (options.reference.empty()) request.reference = before->at("reference");
    request.speed = !options.no_speed && !before->at("speed").is_null();
    const Json& protocol = before->at("protocol");
    if (protocol.is_object()) {
      request.text = text_of(protocol, request.reference, session);
      request.windows = protocol.at("windows");
      request.window = protocol.at("window");
    }
    now = measure(request, session);
    // Memory was enough when it was made, and is not now: no difference, but no answer.
    if (before->at("divergence").is_object() && now.at("divergence").is_null() &&
        now.value("failure", Json()).is_null())
      throw Error(Code::budget, options.model, "does not fit into memory beside its reference now",
                  "free memory, or verify on a larger machine");
  } catch (const Json::exception&) {
    throw FileError(Code::value, join_path(folder, "measured.json"),
                    "a key is missing or of another type", {}, "delete it and measure again");
  } catch (Error& e) {
    if (e.code() != Code::missing || !options.reference.empty()) throw;
    throw FileError(Code::missing, e.subject(), e.fact(), {},
                    e.remedy() + "; --reference names the model that it was made from");
  }
  now["overlap"] = before->value("overlap", Json());  // calibration text is not read again
  const std::vector<Figure> all = figures(*before, now);
  Json rows = Json::array();
  std::string different;
  for (const Figure& f : all) {
    rows.push_back({{"figure", f.name},
                    {"before", f.before},
                    {"now", f.now},
                    {"equal", f.compared ? Json(f.equal()) : Json()}});
    if (f.compared && !f.equal() && different.empty())
      different = f.name + " was " + shown(f.before) + ", measured again " + shown(f.now);
  }
  const Json result = {{"model", options.model},
                       {"reference", request.reference},
                       {"tensors_checked", hashed ? Json(tensors) : Json()},
                       {"equal", different.empty()},
                       {"figures", rows},
                       {"measured", now}};
  session.print(result, [&] {
    Terminal& t = session.terminal;
    const int64_t width = std::min(t.width(), report::kCardWidth);
    if (hashed) t.out(std::to_string(tensors) + " tensors are what halftone.json says was written");
    TextTable table{{"figure", "before", "now", ""}, {}};
    for (const Figure& f : all)
      table.rows.push_back({f.name, shown(f.before), shown(f.now),
                            !f.compared ? "not compared"
                            : f.equal() ? "equal"
                                        : "DIFFERENT"});
    t.out(table.text());
    t.out(report::loss_card(now, receipt, width));
    if (options.explain)
      for (const std::string& line : report::explanation(now, receipt))
        t.out(report::wrapped(printable(line), width, 2));
  });
  if (!different.empty())
    throw FileError(Code::mismatch, folder, different, {},
                    "the model, its reference or the test text is not what was measured");
  return 0;
}

}  // namespace

Command verify() {
  return {
      .summary = "check a quantized model's bytes, measure again what it lost, compare",
      .examples =
          "  halftone verify out/gptq4\n"
          "  halftone verify out/gptq4 --reference models/base   (where the reference lies now)\n"
          "  halftone verify out/gptq4 --explain\n"
          "Exit code 0: every tensor and every figure of quality is what it was; 3: one is not. "
          "Speed and memory are shown, not compared.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model, "a folder that halftone quantize wrote")
            ->required();
        app.add_option("--reference", options->reference,
                       "what it was made from (default: as measured.json names it)");
        add_data(app, options->data);
        app.add_flag("--no-speed", options->no_speed, "bytes and quality only");
        app.add_flag("--explain", options->explain,
                     "say in plain words what was done, what fell back, and what the figures mean");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return verify_model(session, *options); };
      }};
}

}  // namespace halftone::cli
