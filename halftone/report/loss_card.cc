#include "halftone/report/loss_card.h"

#include <algorithm>
#include <optional>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/eval/damage.h"
#include "halftone/report/card_json.h"
#include "halftone/report/comparison.h"

namespace halftone::report {
namespace {

constexpr size_t kIndent = 2, kLabel = 9;  // "  size     ": figures begin in column 11

std::string mega(double bytes) { return significant(bytes / 1e6, bytes < 1e8 ? 3 : 4); }

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

std::optional<double> noise_floor(const Json& measured) {
  const Json* floor = at(measured, "noise_floor");
  const Json* kl = floor ? at(*floor, "kl_mean") : nullptr;
  return kl ? std::optional(kl->get<double>()) : std::nullopt;
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
  out += kl <= noise_floor(measured).value_or(0)
             ? "identical within noise"
             : std::string(closeness((*divergence)["top1_ci95"][0].get<double>()));
  out += ": " + first_choices(same);
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
  const auto floor = noise_floor(measured);
  card.row("KL",
           {significant(number(*d, "kl_mean")) + ci(*d, "kl_ci95", 1, -1) + " nats/token",
            floor ? "noise floor " + significant(*floor) : ""},
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
  const auto first = eval::first_divergence(numbers(*damage, "hidden_error"));
  const std::string above = "above " + significant(100 * eval::kDiverges, 2) + " %";
  card.row("damage",
           {"hidden states off by " + percent(damage->front()) + " behind the first block, " +
            percent(damage->back()) + " behind the last; " +
            (first ? above + " from " +
                         printable(words((*damage)[static_cast<size_t>(*first)], "block")) + " on"
                   : "nowhere " + above)});
}

std::string overlap_note(const Json& measured) {
  const Json* overlap = at(measured, "overlap");
  if (overlap == nullptr) return {};
  if ((*overlap)["shared"] == 0) return "no overlap with test text";
  return significant(100 * number(*overlap, "share"), 2) + " % of it in the test text" +
         (overlaps(*overlap) ? ": OVERLAP" : "");
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
  if (at(measured, "schema"))
    card.row("saved",
             {"measured.json", reference.empty() ? ""
                                                 : "where it was lost: halftone check " + name +
                                                       " --reference " + reference});
  return card.text();
}

}  // namespace halftone::report
