#include "halftone/cli/check_text.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "halftone/base/json_fields.h"
#include "halftone/pack/channel_sizes.h"
#include "halftone/report/loss_card.h"

namespace halftone::cli {
namespace {

constexpr size_t kShown = 8;  // rows of a table

// The rows with the largest `key`, at most `most`.
std::vector<Json> top_rows(const Json& rows, const Json::json_pointer& key, size_t most) {
  std::vector<Json> out;
  for (const size_t i : largest(rows, key))
    if (out.size() < most) out.push_back(rows[i]);
  return out;
}

// A histogram as a bar a root mean square (two bins), from -8 to 8 of them. Heights are logarithmic:
// one value shows beside a million. A blank is none.
std::string bars(const Json& histogram) {
  constexpr int kHeights = 8;
  const auto counts = histogram["counts"].get<std::vector<double>>();
  std::vector<double> pairs;
  for (size_t i = 0; i + 1 < counts.size(); i += 2) pairs.push_back(counts[i] + counts[i + 1]);
  const double most = std::log1p(*std::max_element(pairs.begin(), pairs.end()));
  std::string out;
  for (const double count : pairs) {
    const int height =
        std::min(static_cast<int>(kHeights * std::log1p(count) / most), kHeights - 1);
    out += count == 0
               ? std::string(" ")
               : std::string("\xe2\x96") + static_cast<char>(0x81 + height);  // U+2581 and on
  }
  return out;
}
constexpr const char* kBars = "-8 .. 8 rms";

// The card that quantize and verify print, of what check knows. Where hidden states part has lines of
// its own below.
void print_card(Terminal& t, const Json& result, const Json& receipt) {
  const Json& card = result["card"];
  Json measured = {{"model", result["model"]}, {"size", card}};
  Json notes =
      Json::array({result["family"].get<std::string>() + ", its linears but the head take " +
                   significant(number(card, "linear_bits"), 4) + " bits a weight"});
  if (const Json* reference = at(result, "reference")) {
    measured["reference"] = *reference;
    if (result["reference_from"] != "--reference")
      notes.push_back("the reference is named by " + result["reference_from"].get<std::string>());
  } else if (has_number(card, "perplexity")) {
    notes.push_back("no reference: perplexity " + significant(number(card, "perplexity"), 4) +
                    " on " + result["windows"].dump() + " windows of " + result["window"].dump() +
                    " tokens of " + result["data"].get<std::string>());
  }
  if (has_number(card, "kl_mean")) {
    measured["divergence"] = card;
    measured["protocol"] = {{"data", result["data"]},
                            {"windows", result["windows"]},
                            {"window", result["window"]},
                            {"mode", "exact"}};
  }
  measured["notes"] = std::move(notes);
  t.out(report::loss_card(measured, receipt, std::min(t.width(), report::kCardWidth)));
  t.out("");
}

void print_findings(Terminal& t, const Json& findings) {
  for (const Json& f : findings)
    t.out(f["level"].get<std::string>() + ": " + f["text"].get<std::string>() +
          (f.contains("remedy") ? "; " + f["remedy"].get<std::string>() : ""));
  if (findings.empty()) t.out("nothing wrong with its files");
}

void print_layers(Terminal& t, const Json& result) {
  const Json& layers = result["layers"];
  t.out("");
  if (!result["reference"].is_null()) print_hidden_errors(t, result, "hidden states");
  const Json widest = top_rows(layers, "/channels/largest_over_median"_json_pointer, 1)[0];
  const Json& channels = widest["channels"];
  t.out("largest channel of hidden states: " + channels["worst"][0][0].dump() + ", " +
        significant(number(channels, "largest_over_median")) + " times the median, behind " +
        widest["block"].get<std::string>() + " (" + channels["count"].dump() + " beyond " +
        fixed(pack::kOutlier, 0) + " times)");
}

// What the linears read: where single channels rule.
void print_inputs(Terminal& t, const Json& inputs) {
  TextTable table{{"inputs with the largest channels", "largest / median", "channels beyond 6",
                   "the largest", kBars},
                  {}};
  for (const Json& row : top_rows(inputs, "/channels/largest_over_median"_json_pointer, 5)) {
    std::string worst;
    for (size_t i = 0; i < std::min<size_t>(3, row["channels"]["worst"].size()); ++i)
      worst += (i == 0 ? "" : " ") + row["channels"]["worst"][i][0].dump();
    table.rows.push_back({row["ops"][0].get<std::string>(),
                          significant(number(row["channels"], "largest_over_median")),
                          row["channels"]["count"].dump(), worst, bars(row["activations"])});
  }
  t.out("");
  t.out(table.text());
}

// The linears whose weights are furthest from the reference's.
void print_weights(Terminal& t, const Json& weights) {
  TextTable table{{"weights furthest off", "error %", "largest input / median", kBars}, {}};
  for (const Json& row : top_rows(weights, "/relative_error"_json_pointer, 5))
    table.rows.push_back(
        {row["op"].get<std::string>(), significant(100 * number(row, "relative_error")),
         significant(number(row["inputs"], "largest_over_median")), bars(row["weights"])});
  t.out(table.text());
}

void print_units(Terminal& t, const Json& units, std::string_view kind, std::string_view title) {
  Json rows = Json::array();
  for (const Json& row : units)
    if (row["kind"] == kind) rows.push_back(row);
  if (rows.empty()) return;
  TextTable table{
      {std::string(title), "KL, it alone", "KL, all but it", "saved %", "MB", "MB at 8 bits"}, {}};
  for (const Json& row : top_rows(rows, "/saved"_json_pointer, kShown))
    table.rows.push_back(
        {row["unit"].get<std::string>(), significant(number(row, "kl_only")),
         significant(number(row, "kl_without")), fixed(100 * number(row, "saved"), 1),
         significant(number(row, "bytes") / 1e6), significant(number(row, "bytes_8bit") / 1e6)});
  t.out(table.text());
  if (rows.size() > kShown)
    t.out("  and " + std::to_string(rows.size() - kShown) + " more (--json has all)");
}

}  // namespace

void print_hidden_errors(Terminal& t, const Json& row, const std::string& whose) {
  const Json& first = row["first_divergence"];
  t.out(whose + " are off by more than " + significant(100 * number(row, "diverges_above"), 2) +
        " % " + (first.is_null() ? "nowhere" : "from " + first.get<std::string>() + " on") +
        "; behind each block, in %:");
  std::string line = " ";
  for (const Json& layer : row["layers"]) {
    const Json& error = layer["hidden_error"];
    const std::string figure =
        error.is_null() ? " -" : " " + significant(100 * error.get<double>());
    if (std::ssize(line + figure) > t.width()) {
      t.out(line);
      line = " ";
    }
    line += figure;
  }
  t.out(line);
}

void print_advice(Terminal& t, const Json& advice, const std::string& whose) {
  if (advice.empty()) return;
  t.out("");
  for (const Json& a : advice)
    t.out((whose.empty() ? "" : whose + ": ") + "keep " + a["keep"].get<std::string>() + " at " +
          a["bits"].dump() + " bits: KL " + fixed(100 * number(a, "predicted_kl_change"), 0) +
          " %, +" + bytes_text(number(a, "extra_bytes")) + " (predicted)");
  t.out(
      "predictions: what the KL loses with that part in full precision, each by itself; --json "
      "has them as overrides of a recipe");
}

void print_check(Terminal& t, const Json& result, const Json& receipt) {
  print_card(t, result, receipt);
  print_findings(t, result["findings"]);
  if (!result.contains("layers")) return;
  print_layers(t, result);
  print_inputs(t, result["inputs"]);
  if (!result.contains("units")) return;
  print_weights(t, result["weights"]);
  print_units(t, result["units"], "role", "role");
  print_units(t, result["units"], "table", "table");
  print_units(t, result["units"], "block", "block");
  print_units(t, result["units"], "linear", "linears of the worst blocks");
  print_advice(t, result["advice"]);
}

}  // namespace halftone::cli
