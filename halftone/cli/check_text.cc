#include "halftone/cli/check_text.h"

#include <algorithm>
#include <string>
#include <vector>

#include "halftone/pack/channel_sizes.h"

namespace halftone::cli {
namespace {

constexpr size_t kShown = 8;  // rows of a table

double number(const Json& row, const char* key) { return row[key].get<double>(); }

// The rows with the largest `key`, at most `most`.
std::vector<Json> largest(const Json& rows, const Json::json_pointer& key, size_t most) {
  std::vector<Json> out(rows.begin(), rows.end());
  std::stable_sort(out.begin(), out.end(), [&](const Json& a, const Json& b) {
    return a.at(key).get<double>() > b.at(key).get<double>();
  });
  out.resize(std::min(most, out.size()));
  return out;
}

void print_card(Terminal& t, const Json& result) {
  const Json& card = result["card"];
  t.out(result["model"].get<std::string>() + ": " + result["family"].get<std::string>() + ", " +
        bytes_text(number(card, "bytes")) + ", " + significant(number(card, "bits_per_weight"), 4) +
        " bits a weight, codes alone " + significant(number(card, "nominal_bits"), 4) +
        "; its linears but the head " + significant(number(card, "linear_bits"), 4));
  if (result["reference_from"] != "--reference" && !result["reference"].is_null())
    t.out("reference: " + result["reference"].get<std::string>() + ", by " +
          result["reference_from"].get<std::string>());
  if (card.contains("kl_mean")) {
    t.out("against " + result["reference"].get<std::string>() + ": KL " +
          significant(number(card, "kl_mean")) + " nats a token" +
          (result["windows"] == 1 ? ""
                                  : " (" + significant(card["kl_ci95"][0].get<double>(), 2) + ".." +
                                        significant(card["kl_ci95"][1].get<double>(), 2) + ")") +
          ", same first choice " + significant(100 * number(card, "top1_agreement")) +
          " %, perplexity " + significant(number(card, "perplexity"), 4) + " (" +
          significant(number(card, "reference_perplexity"), 4) + "), " +
          significant(number(card, "compression")) + " times smaller");
  } else if (card.contains("perplexity")) {
    t.out("perplexity " + significant(number(card, "perplexity"), 4));
  }
  if (result.contains("windows"))
    t.out("on " + result["windows"].dump() + " windows of " + result["window"].dump() +
          " tokens of " + result["data"].get<std::string>() + ", mode exact");
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
  const Json widest = largest(layers, "/channels/largest_over_median"_json_pointer, 1)[0];
  const Json& channels = widest["channels"];
  t.out("largest channel of hidden states: " + channels["worst"][0][0].dump() + ", " +
        significant(number(channels, "largest_over_median")) + " times the median, behind " +
        widest["block"].get<std::string>() + " (" + channels["count"].dump() + " beyond " +
        fixed(pack::kOutlier, 0) + " times)");
}

// What the linears read: where single channels rule.
void print_inputs(Terminal& t, const Json& inputs) {
  TextTable table{
      {"inputs with the largest channels", "largest / median", "channels beyond 6", "the largest"},
      {}};
  for (const Json& row : largest(inputs, "/channels/largest_over_median"_json_pointer, 5)) {
    std::string worst;
    for (size_t i = 0; i < std::min<size_t>(3, row["channels"]["worst"].size()); ++i)
      worst += (i == 0 ? "" : " ") + row["channels"]["worst"][i][0].dump();
    table.rows.push_back({row["ops"][0].get<std::string>(),
                          significant(number(row["channels"], "largest_over_median")),
                          row["channels"]["count"].dump(), worst});
  }
  t.out("");
  t.out(table.text());
}

// The linears whose weights are furthest from the reference's.
void print_weights(Terminal& t, const Json& weights) {
  TextTable table{{"weights furthest off", "error %", "largest input / median"}, {}};
  for (const Json& row : largest(weights, "/relative_error"_json_pointer, 5))
    table.rows.push_back({row["op"].get<std::string>(),
                          significant(100 * number(row, "relative_error")),
                          significant(number(row["inputs"], "largest_over_median"))});
  t.out(table.text());
}

void print_units(Terminal& t, const Json& units, std::string_view kind, std::string_view title) {
  Json rows = Json::array();
  for (const Json& row : units)
    if (row["kind"] == kind) rows.push_back(row);
  if (rows.empty()) return;
  TextTable table{
      {std::string(title), "KL, it alone", "KL, all but it", "saved %", "MB", "MB at 8 bits"}, {}};
  for (const Json& row : largest(rows, "/saved"_json_pointer, kShown))
    table.rows.push_back(
        {row["unit"].get<std::string>(), significant(number(row, "kl_only")),
         significant(number(row, "kl_without")), fixed(100 * number(row, "saved"), 1),
         significant(number(row, "bytes") / 1e6), significant(number(row, "bytes_8bit") / 1e6)});
  t.out(table.text());
  if (rows.size() > kShown)
    t.out("  and " + std::to_string(rows.size() - kShown) + " more (--json has all)");
}

void print_advice(Terminal& t, const Json& advice) {
  if (advice.empty()) return;
  t.out("");
  for (const Json& a : advice)
    t.out("keep " + a["keep"].get<std::string>() + " at " + a["bits"].dump() + " bits: KL " +
          fixed(100 * number(a, "predicted_kl_change"), 0) + " %, +" +
          bytes_text(number(a, "extra_bytes")));
  t.out(
      "predictions: what the KL loses with that part in full precision, each by itself; --json "
      "has them as overrides of a recipe");
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

void print_check(Terminal& t, const Json& result) {
  print_card(t, result);
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
