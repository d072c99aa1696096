// halftone verify: is a model still what was written, and does it still lose what was measured?
#include <algorithm>
#include <array>
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/cli/measure.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/text_options.h"
#include "halftone/pack/packed_model.h"
#include "halftone/report/loss_card.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, reference, data;
  TaskOptions tasks;
  bool no_speed = false, explain = false, fresh = false;
};

// Of a figure's value. Mode exact gives the same bits at any thread count; another build's exp and log
// may differ in the last one, and with it the bin that a token is counted in (eval/log_histogram.h).
constexpr double kRelative = 1e-9, kBin = 0.008;

struct Figure {
  std::string name;  // "divergence/kl_mean"
  Json before, now;
  bool compared = true;
  bool equal() const {
    if (!before.is_number() || !now.is_number()) return before == now;
    const double a = before.get<double>(), b = now.get<double>();
    const bool binned =
        name.ends_with("_median") || name.ends_with("_p90") || name.ends_with("_p99");
    return std::abs(a - b) <= (binned ? kBin : kRelative) * std::max(std::abs(a), std::abs(b));
  }
  // Those that have a row each; all others have one, while they are equal.
  bool shown() const {
    static constexpr std::array kShown = {"fingerprint",
                                          "protocol/ids_hash",
                                          "protocol/positions",
                                          "size/bytes",
                                          "size/reference_bytes",
                                          "size/bits_per_weight",
                                          "divergence/kl_mean",
                                          "divergence/js_mean",
                                          "divergence/top1_agreement",
                                          "divergence/reference_perplexity",
                                          "divergence/perplexity",
                                          "noise_floor/kl_mean"};
    return !compared || !equal() || std::count(kShown.begin(), kShown.end(), name) > 0 ||
           (name.starts_with("tasks/") && name.ends_with("/value"));
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

constexpr std::array kSameTask = {"task", "limit", "num_fewshot"};

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

// Every figure that was measured before and can be again.
std::vector<Figure> figures(const Json& before, const Json& now) {
  std::vector<Figure> out;
  const auto add = [&](const std::string& name, const Json& a, const Json& b) {
    // Of this minute; and what else lies in the folder is nobody's loss.
    const bool passes = name.starts_with("speed/") || name.starts_with("memory/");
    if (!passes || !b.is_null()) out.push_back({name, a, b, !passes && name != "size/file_bytes"});
  };
  const auto add_all = [&](const std::string& name, const Json& a, const Json& b) {
    // Both: an empty list (no item flipped) is null when it is flat.
    const Json flat = a.flatten(), other = b.flatten();
    for (const auto& [pointer, value] : flat.items())
      add(name + pointer, value, other.value(pointer, Json()));
  };
  for (const char* section : {"fingerprint", "protocol", "size", "divergence", "failure",
                              "noise_floor", "speed", "memory"}) {
    Json a = before.value(section, Json()), b = now.value(section, Json());
    if (section == std::string("protocol") && a.is_object()) a.erase("ids");  // what is read again
    if (a.is_object())
      add_all(section, a, b);
    else if (!a.is_null())
      add(section, a, b);
  }
  const Json blocks = before.value("damage", Json::array());
  for (size_t i = 0; i < blocks.size(); ++i)
    add("damage/" + blocks[i]["block"].get<std::string>(), blocks[i].value("hidden_error", Json()),
        i < now["damage"].size() ? now["damage"][i]["hidden_error"] : Json());
  // A change's p and verdict depend on which other tasks there are, all else on the items alone.
  for (Json row : before.value("tasks", Json::array()))
    for (const Json& other : now["tasks"])
      if (std::all_of(kSameTask.begin(), kSameTask.end(), [&](const char* key) {
            return row.value(key, Json()) == other.value(key, Json());
          })) {
        for (const char* key : {"p_holm", "verdict"}) row.erase(key);
        add_all("tasks/" + row["task"].get<std::string>(), row, other);
      }
  return out;
}

std::string shown(const Json& value) {
  return value.is_number_float() ? significant(value.get<double>(), 6)
         : value.is_string()     ? printable(value.get<std::string>().substr(0, 12))
         : value.is_null()       ? "-"
                                 : value.dump();
}

int verify_model(Session& session, const Options& options) {
  options.tasks.check();
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
  if (options.reference.empty()) {
    request.reference = before->at("reference");
    try {
      spec::resolve_model(request.reference, context);
    } catch (const Error& e) {
      throw FileError(Code::missing, e.subject(), e.fact(), {},
                      e.remedy() + "; --reference names the model that it was made from");
    }
  }
  request.speed = !options.no_speed && !before->value("speed", Json()).is_null();
  if (const Json protocol = before->value("protocol", Json()); protocol.is_object()) {
    request.text = text_of(protocol, request.reference, session);
    request.windows = protocol.at("windows");
    request.window = protocol.at("window");
  }
  Json now = measure(request, session);
  // Memory was enough when it was made, and is not now: no difference, but no answer.
  if (before->value("divergence", Json()).is_object() && now["divergence"].is_null() &&
      !now.contains("failure"))
    throw Error(Code::budget, options.model, "does not fit into memory beside its reference now",
                "free memory, or verify on a larger machine");
  const TaskOptions tasks = options.tasks.tasks.empty()
                                ? same_tasks(before->value("tasks", Json::array()))
                                : options.tasks;
  RunJournals journals(context, "verify", options.fresh);
  if (!tasks.tasks.empty())
    now["tasks"] = measure_tasks(options.model, request.reference, tasks, session, journals);
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
    int64_t others = 0;
    for (const Figure& f : all)
      if (f.shown())
        table.rows.push_back({printable(f.name), shown(f.before), shown(f.now),
                              !f.compared ? "not compared"
                              : f.equal() ? "equal"
                                          : "DIFFERENT"});
      else
        ++others;
    t.out(table.text());
    if (others > 0)
      t.out("and " + std::to_string(others) + " more figures, all equal (--json lists them)");
    t.out(report::loss_card(now, receipt, width));
    if (options.explain)
      for (const std::string& line : report::explanation(now, receipt))
        t.out(report::wrapped(printable(line), width, 2));
  });
  journals.remove();
  if (!different.empty())
    throw FileError(Code::mismatch, folder, different, {},
                    "the model, its reference or the test text is not what was measured");
  if (!options.tasks.tasks.empty()) {
    Json kept = *before;
    kept["tasks"] = now["tasks"];
    write_measured(folder, std::move(kept), context);
  }
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
          "  halftone verify out/gptq4 --tasks piqa,arc_easy --limit 200   (adds them to the card: "
          "from now on they are measured again, too)\n"
          "Exit code 0: every tensor and every figure of quality is what it was; 3: one is not. "
          "Speed and memory are shown, not compared.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model, "a folder that halftone quantize wrote")
            ->required();
        app.add_option("--reference", options->reference,
                       "what it was made from (default: as measured.json names it)");
        add_data(app, options->data);
        options->tasks.declare_tasks(app);
        app.add_flag("--fresh", options->fresh,
                     "do not go on with an earlier run that was interrupted");
        app.add_flag("--no-speed", options->no_speed, "bytes and quality only");
        app.add_flag("--explain", options->explain,
                     "say in plain words what was done, what fell back, and what the figures mean");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] {
          return resumable([&] { return verify_model(session, *options); });
        };
      }};
}

}  // namespace halftone::cli
