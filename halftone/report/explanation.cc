#include <algorithm>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/report/card_json.h"
#include "halftone/report/loss_card.h"

namespace halftone::report {
namespace {

// The linears of each (format, rounder), most first.
std::vector<std::pair<std::string, int64_t>> kinds_of(const Json& layers) {
  std::map<std::string, int64_t> counts;
  for (const Json& layer : layers) {
    const Json& f = layer["format"];
    std::string label = f["bits"].dump() + " bits";
    if (words(f, "granularity") == "group")
      label += " in groups of " + f.value("group", Json()).dump();
    if (words(f, "granularity") == "row") label += ", a scale a row";
    if (words(f, "granularity") == "tensor") label += ", one scale";
    label += f.value("symmetric", true) ? "" : " with zero-points";
    ++counts[label + ", rounded by " + words(layer, "rounder")];
  }
  std::vector<std::pair<std::string, int64_t>> out(counts.begin(), counts.end());
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace

std::vector<std::string> explanation(const Json& measured, const Json& receipt) {
  std::vector<std::string> out;
  if (const Json* recipe = at(receipt, "recipe")) {
    const std::string summary = words(*recipe, "summary");
    out.push_back("Recipe " + words(*recipe, "name") + (summary.empty() ? "" : ": " + summary) +
                  ".");
  } else {
    out.push_back("There is no halftone.json: what was done to this model is not known here.");
  }
  if (const Json* layers = at(receipt, "layers")) {
    for (const auto& [kind, count] : kinds_of(*layers))
      out.push_back(counted(count, "linear") + (count == 1 ? " has" : " have") + " weights of " +
                    kind + ".");
    if (const Json* bits = at(receipt, "quantized_bits_per_weight"))
      out.push_back("With scales and zero-points such a weight takes " +
                    significant(bits->get<double>(), 4) + " bits.");
  }
  if (const Json* recipe = at(receipt, "recipe"); recipe && at(*recipe, "keep")) {
    const Json& keep = (*recipe)["keep"];
    out.push_back(keep.empty()
                      ? "Nothing was told to stay in floats."
                      : "Kept in floats where the model has it: " +
                            listed(keep, [](const Json& k) { return k.get<std::string>(); }) +
                            ", and everything that is not a linear (embeddings, norms, "
                            "biases), stored as " +
                            words(*recipe, "dense_dtype") + ".");
  }
  if (const Json* c = at(receipt, "calibration")) {
    out.push_back("The rounding was steered by " + (*c)["samples"].dump() + " samples of " +
                  (*c)["length"].dump() + " tokens of " + words(*c, "data") + ": " +
                  words(*c, "windows") + ".");
    if (const Json* scarce = at(*c, "scarce"))
      out.push_back("Text was scarce: " + scarce->get<std::string>() + ".");
  } else if (at(receipt, "recipe")) {
    out.push_back("No text was read: the recipe needs no calibration.");
  }
  if (const Json* layers = at(receipt, "layers")) {
    if (fallbacks_of(*layers) == 0) {
      out.push_back("Nothing fell back: every linear was rounded as the recipe says.");
    } else {
      std::map<std::string, std::vector<std::string>> reasons;
      for (const Json& layer : *layers)
        if (const Json* why = at(layer, "fallback"))
          reasons[why->get<std::string>()].push_back(words(layer, "op"));
      for (const auto& [why, ops] : reasons) {
        constexpr size_t kNamed = 4;
        const std::vector<std::string> some(
            ops.begin(), ops.begin() + static_cast<int64_t>(std::min(kNamed, ops.size())));
        out.push_back(
            "Rounded to the nearest code instead, because " + why + ": " + listed(some) +
            (ops.size() > kNamed ? " and " + std::to_string(ops.size() - kNamed) + " more" : "") +
            ".");
      }
    }
    int64_t dead = 0, clamped = 0;
    for (const Json& layer : *layers) {
      dead += layer.value("dead_columns", int64_t{0});
      clamped += layer.value("clamped_scales", int64_t{0});
    }
    if (dead > 0)
      out.push_back(counted(dead, "input") +
                    " of linears were always 0 in the calibration text: their weights were rounded "
                    "without knowing what they are worth.");
    if (clamped > 0)
      out.push_back(counted(clamped, "scale") +
                    " did not fit into the type that scales are stored in, and were clamped.");
  }
  if (const Json* overlap = at(measured, "overlap")) {
    const std::string of = (*overlap)["shared"].dump() + " of " + (*overlap)["places"].dump() +
                           " runs of 16 tokens of the calibration text (" +
                           significant(100 * number(*overlap, "share"), 2) +
                           " %) stand in the test text, too";
    if ((*overlap)["shared"] == 0)
      out.push_back("Calibration and test text have no run of 16 tokens in common.");
    else if (!overlaps(*overlap))
      out.push_back(of + ": phrases that any two texts of a kind have, not a text that was seen.");
    else
      out.push_back(
          "CALIBRATION AND TEST TEXT OVERLAP: " + of + ", and " +
          significant(100 * number(*overlap, "windows_share"), 2) +
          " % of those that were scored were seen. The figures look better than they are; "
          "calibrate or measure on other text.");
  }
  if (const Json* d = at(measured, "divergence")) {
    const Json& protocol = measured["protocol"];
    out.push_back("Measured on " + counted(protocol["windows"].get<int64_t>(), "window") + " of " +
                  protocol["window"].dump() + " tokens of " + words(protocol, "data") +
                  " against " + words(measured, "reference") +
                  ", side by side, by the real kernels in mode " + words(protocol, "mode") + ".");
    out.push_back(
        "KL is how far the probabilities of the next token moved, in nats, on average over " +
        protocol["positions"].dump() +
        " tokens; 0 is no change. top-1 is how often both "
        "models would pick the same token.");
    out.push_back(
        "The word comes from the lower end of top-1's interval: nearly identical from 99 %, "
        "close from 96, noticeable from 90, strong change from 80, broken below; here it is " +
        fixed(100 * (*d)["top1_ci95"][0].get<double>(), 1) + " %.");
    if (const Json* floor = at(measured, "noise_floor"); floor && at(*floor, "kl_mean"))
      out.push_back("The noise floor is " + words(*floor, "what") + ": a KL of " +
                    significant(number(*floor, "kl_mean")) +
                    " that is no loss. A KL at or below it is called identical within noise.");
  }
  if (const Json* failure = at(measured, "failure"))
    out.push_back("Its quality could not be measured: " + failure->get<std::string>() + ".");
  return out;
}

}  // namespace halftone::report
