#include "halftone/report/loss_card.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/report/comparison.h"

namespace halftone::report {
namespace {

constexpr size_t kIndent = 2, kLabel = 9;  // "  size     ": figures begin in column 11
constexpr double kDiverged = 0.1;          // of a hidden state's norm: `first` in damage

// A member that is there and not null.
const Json* at(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}
double number(const Json& object, const char* key) { return object.at(key).get<double>(); }
std::string words(const Json& object, const char* key) { return object.value(key, std::string()); }

std::string counted(int64_t n, const std::string& thing) {
  return std::to_string(n) + " " + thing + (n == 1 ? "" : "s");
}
std::string mega(double bytes) { return significant(bytes / 1e6, bytes < 1e8 ? 3 : 4); }

// UTF-8: bytes that continue a character take no column. Names are ASCII as good as always.
size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

class Card {
 public:
  explicit Card(int64_t width) : width_(static_cast<size_t>(std::max<int64_t>(width, 40))) {}

  // Cells side by side, each but the last as wide as given; one that does not fit begins a line of
  // its own below.
  void row(const std::string& label, const std::vector<std::string>& cells,
           const std::vector<size_t>& widths = {}) {
    std::string line(kIndent, ' ');
    line += label;
    line.resize(std::max(line.size() + 1, kIndent + kLabel), ' ');
    const std::string hanging(kIndent + kLabel, ' ');
    bool first = true;
    size_t pad = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (cells[i].empty()) continue;
      const size_t gap = first ? 0 : std::max<size_t>(pad, 2);
      if (!first && columns(line) + gap + columns(cells[i]) > width_) {
        end(line);
        line = hanging;
      } else {
        line.append(gap, ' ');
      }
      line += cells[i];
      const size_t wide = i < widths.size() ? widths[i] : 0;
      pad = 2 + (wide > columns(cells[i]) ? wide - columns(cells[i]) : 0);
      first = false;
    }
    end(line);
  }
  void sentence(const std::string& text, size_t indent) {
    end(std::string(indent, ' ') + text, indent + 2);
  }
  void blank() { out_ += "\n"; }
  size_t width() const { return width_; }
  std::string text() {
    out_.pop_back();
    return std::move(out_);
  }

 private:
  void end(const std::string& line, size_t indent = kIndent + kLabel) {
    out_ += wrapped(line, static_cast<int64_t>(width_), static_cast<int64_t>(indent)) + "\n";
  }
  size_t width_;
  std::string out_;
};

std::string ci(const Json& object, const char* key, double factor, int digits) {
  const Json* range = at(object, key);
  if (range == nullptr || (*range)[0] == (*range)[1]) return {};  // one window has none
  const auto end = [&](size_t i) {
    const double value = factor * (*range)[i].get<double>();
    return digits < 0 ? significant(value) : fixed(value, digits);
  };
  return " [" + end(0) + ", " + end(1) + "]";
}

// The sentence that two people say alike: a word for the lower end of the interval, and a rate to
// picture.
std::string verdict(const Json& measured) {
  std::string out;
  if (words(measured.value("protocol", Json::object()), "mode") == "simulated") out = "SIMULATED: ";
  const Json* divergence = at(measured, "divergence");
  if (divergence == nullptr)
    return out + (at(measured, "failure") ? "broken: " + words(measured, "failure")
                                          : "its quality was not measured");
  const double kl = number(*divergence, "kl_mean"), same = number(*divergence, "top1_agreement");
  const Json* floor = at(measured, "noise_floor");
  out += kl <= (floor ? number(*floor, "kl_mean") : 0)
             ? "identical within noise"
             : std::string(closeness((*divergence)["top1_ci95"][0].get<double>()));
  if (same >= 1)
    out += ": no token gets another first choice";
  else if (same >= 0.5)
    out += ": 1 token in " + std::to_string(std::lround(1 / (1 - same))) +
           " gets another first choice";
  else
    out += ": " + std::to_string(std::lround(100 * (1 - same))) +
           " of 100 tokens get another first choice";
  if (const Json* tasks = at(measured, "tasks"); tasks && !tasks->empty()) {
    std::vector<std::string> worse;
    for (const Json& task : *tasks)
      if (words(task, "verdict") == "worse") worse.push_back(words(task, "task"));
    out += worse.empty()
               ? "; " + counted(std::ssize(*tasks), "task") + ": no difference shown"
               : "; " + std::to_string(worse.size()) + " of " +
                     counted(std::ssize(*tasks), "task") + (worse.size() == 1 ? " is" : " are") +
                     " worse (" + listed(worse) + ")";
  }
  return out;
}

void add_cost(Card& card, const Json& measured) {
  const std::vector<size_t> widths = {19, 7};
  const auto pair = [](const std::string& before, const std::string& after,
                       const std::string& unit) {
    return (before.empty() ? "" : before + " -> ") + after + " " + unit;
  };
  if (const Json* size = at(measured, "size")) {
    const Json* before = at(*size, "reference_bytes");
    card.row("size",
             {pair(before ? mega(before->get<double>()) : "", mega(number(*size, "bytes")), "MB"),
              before ? fixed(before->get<double>() / number(*size, "bytes"), 2) + "x" : "",
              significant(number(*size, "bits_per_weight")) + " bits/weight (codes alone " +
                  significant(number(*size, "nominal_bits")) + ")"},
             widths);
  }
  if (const Json* speed = at(measured, "speed")) {
    const Json *model = at(*speed, "model"), *reference = at(*speed, "reference");
    const auto add = [&](const char* label, const char* key, const std::string& what) {
      const double after = number(*model, key);
      const auto rate = [](double tok_s) { return fixed(tok_s, tok_s < 1000 ? 1 : 0); };
      card.row(label,
               {pair(reference ? rate(number(*reference, key)) : "", rate(after), "tok/s"),
                reference ? fixed(after / number(*reference, key), 2) + "x" : "", what},
               widths);
    };
    add("speed", "decode_tok_s",
        "decode, " + counted((*speed)["threads"].get<int64_t>(), "thread") + ", " +
            words(*speed, "isa") + ", mode " + words(*speed, "mode"));
    add("", "prefill_tok_s", "prefill; loads in " + significant(number(*model, "load_ms")) + " ms");
  }
  if (const Json* memory = at(measured, "memory")) {
    const Json* before = at(*memory, "reference_peak_rss_bytes");
    const auto mebi = [](double bytes) { return fixed(bytes / (1 << 20), 0); };
    card.row("memory", {pair(before ? mebi(before->get<double>()) : "",
                             mebi(number(*memory, "peak_rss_bytes")), "MiB peak")});
  }
}

void add_quality(Card& card, const Json& measured) {
  const Json* d = at(measured, "divergence");
  if (d == nullptr) return;
  const Json* floor = at(measured, "noise_floor");
  card.row("KL",
           {significant(number(*d, "kl_mean")) + ci(*d, "kl_ci95", 1, -1) + " nats/token",
            floor ? "noise floor " + significant(number(*floor, "kl_mean")) : ""},
           {40});
  card.row(
      "",
      {"median " + significant(number(*d, "kl_median")), "p90 " + significant(number(*d, "kl_p90")),
       "p99 " + significant(number(*d, "kl_p99")), "max " + significant(number(*d, "kl_max"))});
  card.row("top-1", {fixed(100 * number(*d, "top1_agreement"), 1) + " % same" +
                     ci(*d, "top1_ci95", 100, 1)});
  const double before = number(*d, "reference_perplexity"), after = number(*d, "perplexity");
  const Json& protocol = measured["protocol"];
  card.row("ppl",
           {significant(before, 4) + " -> " + significant(after, 4),
            "x" + fixed(after / before, 3) + ci(*d, "perplexity_ratio_ci95", 1, 3),
            words(protocol, "data") + ", " + counted(protocol["windows"].get<int64_t>(), "window") +
                " of " + protocol["window"].dump() + ", mode " + words(protocol, "mode")},
           {19, 22});
}

void add_tasks(Card& card, const Json& measured) {
  const Json* tasks = at(measured, "tasks");
  if (tasks == nullptr || tasks->empty()) return;
  card.blank();
  std::vector<std::vector<std::string>> rows = {
      {"task", "before", "after", "change", "95 % paired", "lost/won", "n", ""}};
  size_t quiet = 0;
  for (const Json& task : *tasks) {
    if (words(task, "verdict") != "worse" && words(task, "verdict") != "better" &&
        rows.size() > 2) {
      ++quiet;
      continue;
    }
    const auto points = [&](double share) { return fixed(100 * share, 1); };
    const double change = number(task, "change");
    const Json* range = at(task, "change_ci95");
    rows.push_back({words(task, "task"), points(number(task, "reference")),
                    points(number(task, "value")), (change > 0 ? "+" : "") + points(change),
                    range ? "[" + points((*range)[0].get<double>()) + ", " +
                                points((*range)[1].get<double>()) + "]"
                          : "-",
                    task["lost"].dump() + "/" + task["won"].dump(), task["n"].dump(),
                    words(task, "verdict")});
  }
  std::vector<size_t> widths(rows[0].size());
  size_t line_width = kIndent;
  for (size_t i = 0; i < widths.size(); ++i) {
    for (const auto& cells : rows) widths[i] = std::max(widths[i], columns(cells[i]));
    line_width += widths[i] + (i > 0 ? 2 : 0);
  }
  std::vector<std::string> dropped;
  for (size_t i = widths.size() - 2; i > 3 && line_width > card.width(); --i) {
    dropped.push_back(rows[0][i]);
    line_width -= widths[i] + 2;
    widths[i] = 0;
  }
  for (const auto& cells : rows) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (widths[i] == 0) continue;
      const std::string pad(widths[i] - columns(cells[i]), ' ');
      const bool left = i == 0 || i + 1 == cells.size();
      line += (i > 0 ? "  " : "") + (left ? cells[i] + pad : pad + cells[i]);
    }
    while (line.ends_with(' ')) line.pop_back();
    card.sentence(line, kIndent);
  }
  if (!dropped.empty())
    card.sentence("no room for: " + listed(dropped) + " (measured.json has all)", kIndent);
  if (quiet > 0)
    card.sentence(std::to_string(quiet) + " more: no difference shown (Holm over " +
                      counted(std::ssize(*tasks), "task") + ")",
                  kIndent);
}

void add_damage(Card& card, const Json& measured) {
  const Json* damage = at(measured, "damage");
  if (damage == nullptr || damage->empty()) return;
  const auto percent = [](const Json& block) {
    const Json* error = at(block, "hidden_error");
    return error ? significant(100 * error->get<double>(), 2) + " %" : std::string("not finite");
  };
  const auto first = std::find_if(damage->begin(), damage->end(), [](const Json& block) {
    const Json* error = at(block, "hidden_error");
    return error == nullptr || error->get<double>() > kDiverged;
  });
  card.row("damage", {"hidden states off by " + percent(damage->front()) +
                      " behind the first block, " + percent(damage->back()) + " behind the last; " +
                      (first == damage->end()
                           ? "nowhere above 10 %"
                           : "above 10 % from " + printable(words(*first, "block")) + " on")});
}

// Two texts of a kind share phrases; more than this is a text that was seen.
bool overlaps(const Json& overlap) {
  return std::max(number(overlap, "share"), number(overlap, "windows_share")) >= 0.02;
}

std::string overlap_note(const Json& measured) {
  const Json* overlap = at(measured, "overlap");
  if (overlap == nullptr) return {};
  if ((*overlap)["shared"] == 0) return "no overlap with test text";
  return significant(100 * number(*overlap, "share"), 2) + " % of it in the test text" +
         (overlaps(*overlap) ? ": OVERLAP" : "");
}

// The linears of each (format, rounder), most first.
std::vector<std::pair<std::string, int64_t>> kinds_of(const Json& layers) {
  std::map<std::string, int64_t> counts;
  for (const Json& layer : layers) {
    const Json& f = layer["format"];
    std::string label = f["bits"].dump() + " bits";
    if (words(f, "granularity") == "group") label += " in groups of " + f["group"].dump();
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

int64_t fallbacks_of(const Json& layers) {
  return std::count_if(layers.begin(), layers.end(),
                       [](const Json& layer) { return at(layer, "fallback") != nullptr; });
}

}  // namespace

std::string wrapped(const std::string& text, int64_t width, int64_t indent) {
  std::string out, line = text;
  const auto limit = static_cast<size_t>(width), hang = static_cast<size_t>(indent);
  while (columns(line) > limit) {
    // The last space that fits; a word that is longer than a line is left whole.
    size_t cut = std::string::npos, seen = 0;
    bool text_yet = false;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == ' ' && text_yet && (seen <= limit || cut == std::string::npos)) cut = i;
      if (seen > limit && cut != std::string::npos) break;
      text_yet |= line[i] != ' ';
      seen += (static_cast<unsigned char>(line[i]) & 0xc0) != 0x80;
    }
    if (cut == std::string::npos) break;
    std::string head = line.substr(0, cut);
    while (head.ends_with(' ')) head.pop_back();
    out += head + "\n";
    line.erase(0, line.find_first_not_of(' ', cut));
    line.insert(0, hang, ' ');
  }
  return out + line;
}

std::string loss_card(const Json& measured, const Json& receipt, int64_t width) {
  Card card(width);
  const std::string name = printable(words(measured, "model")),
                    reference = printable(words(measured, "reference"));
  std::string title = (reference.empty() ? "" : reference + " -> ") + name;
  const Json* recipe = at(receipt, "recipe");
  if (recipe)
    title += std::string(title.size() < 30 ? 30 - title.size() : 2, ' ') + "recipe " +
             printable(words(*recipe, "name"));
  card.sentence(title, 0);
  card.sentence(printable(verdict(measured)), kIndent);
  card.blank();
  add_cost(card, measured);
  add_quality(card, measured);
  add_tasks(card, measured);
  add_damage(card, measured);
  std::vector<std::string> notes;
  if (const Json* layers = at(receipt, "layers"))
    notes.push_back(counted(fallbacks_of(*layers), "fall-back"));
  if (const Json* c = at(receipt, "calibration"))
    notes.push_back("calibration " + (*c)["samples"].dump() + " x " + (*c)["length"].dump());
  if (const std::string note = overlap_note(measured); !note.empty()) notes.push_back(note);
  if (const Json* own = at(measured, "notes"))
    for (const Json& note : *own) notes.push_back(printable(note.get<std::string>()));
  std::string all;
  for (const std::string& note : notes) all += (all.empty() ? "" : "; ") + note;
  if (!all.empty()) card.row("notes", {all});
  card.row("saved", {"measured.json", reference.empty() ? ""
                                                        : "where it was lost: halftone check " +
                                                              name + " --reference " + reference});
  return card.text();
}

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
  }
  if (const Json* failure = at(measured, "failure"))
    out.push_back("Its quality could not be measured: " + failure->get<std::string>() + ".");
  return out;
}

}  // namespace halftone::report
