#include "halftone/cli/classification_text.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "halftone/base/numbers.h"
#include "halftone/eval/python_text.h"

namespace halftone::cli {
namespace {

std::string padded(const std::string& text, int64_t width) {
  return std::string(static_cast<size_t>(std::max<int64_t>(0, width - eval::code_points(text))),
                     ' ') +
         text;
}

std::string shortened(const std::string& label, int64_t most) {
  if (eval::code_points(label) <= most) return label;
  std::string out;
  for (const char c : label) {
    const bool begins = (static_cast<uint8_t>(c) & 0xc0) != 0x80;
    if (begins && eval::code_points(out) == most - 2) return out + "..";
    out += c;
  }
  return out;
}

std::string mistakes_text(const eval::Classification& c) {
  const size_t n = c.labels.size();
  std::vector<std::pair<int64_t, size_t>> found;  // - count, place
  for (size_t k = 0; k < n * n; ++k)
    if (k / n != k % n && c.confusion[k] > 0) found.emplace_back(-c.confusion[k], k);
  std::sort(found.begin(), found.end());
  std::string out = "most frequent mistakes (--json has all):\n";
  for (size_t i = 0; i < std::min<size_t>(10, found.size()); ++i)
    out += padded(std::to_string(-found[i].first), 8) + "  " +
           shortened(c.labels[found[i].second / n], 30) + " taken for " +
           shortened(c.labels[found[i].second % n], 30) + "\n";
  return out;
}

// Counts with a shade for the share of the row: the diagonal of a good classifier is dark. The
// mistakes as a list where the table would be wider than the terminal.
std::string confusion_text(const eval::Classification& c, int64_t width) {
  constexpr const char* kShades[] = {" ", "░", "▒", "▓", "█"};
  const auto n = static_cast<int64_t>(c.labels.size());
  const int64_t head = 14, room = std::max<int64_t>(width, 80);
  int64_t cell = std::max<int64_t>(6, std::ssize(std::to_string(c.items)) + 2);
  int64_t longest = 0;
  for (const std::string& label : c.labels) longest = std::max(longest, eval::code_points(label));
  cell = std::clamp((room - head) / n - 1, cell, std::max(cell, longest + 1));
  if (head + n * (cell + 1) > room) return mistakes_text(c);
  std::string out = padded("right \\ given", head);
  for (const std::string& label : c.labels) out += padded(shortened(label, cell - 1), cell) + " ";
  for (int64_t r = 0; r < n; ++r) {
    const auto row = static_cast<size_t>(r);
    out += "\n" + padded(shortened(c.labels[row], head), head);
    for (int64_t p = 0; p < n; ++p) {
      const int64_t count = c.confusion[static_cast<size_t>(r * n + p)];
      const auto shade = static_cast<size_t>(
          c.support[row] > 0
              ? std::ceil(4.0 * static_cast<double>(count) / static_cast<double>(c.support[row]))
              : 0);
      out += padded(std::to_string(count), cell) + kShades[shade];
    }
  }
  return out + "\n";
}

}  // namespace

std::string interval(const std::optional<eval::Interval>& ci, int digits) {
  return ci ? " [" + fixed((*ci)[0], digits) + ", " + fixed((*ci)[1], digits) + "]" : "";
}

void print_classification(Terminal& t, const eval::Classification& c) {
  t.out("accuracy " + fixed(c.accuracy.value, 4) + interval(c.accuracy.ci95, 4) + "  macro F1 " +
        fixed(c.macro.f1.value, 4) + interval(c.macro.f1.ci95, 4) + "  " +
        count_text(static_cast<double>(c.items)) + " items, " + std::to_string(c.labels.size()) +
        " labels; in brackets: 95 %, bootstrap over items");
  t.out("");
  TextTable table{{"label", "precision", "recall", "F1", "95 %", "support"}, {}};
  const auto row = [&](const std::string& name, const eval::LabelScores& s, int64_t support) {
    table.rows.push_back(
        {name, fixed(s.precision.value, 4), fixed(s.recall.value, 4), fixed(s.f1.value, 4),
         s.f1.ci95 ? fixed((*s.f1.ci95)[0], 4) + ".." + fixed((*s.f1.ci95)[1], 4) : "-",
         std::to_string(support)});
  };
  constexpr size_t kShown = 40;
  for (size_t k = 0; k < std::min(kShown, c.labels.size()); ++k)
    row(shortened(c.labels[k], 30), c.by_label[k], c.support[k]);
  row("macro", c.macro, c.items);
  row("weighted", c.weighted, c.items);
  t.out(table.text());
  if (c.labels.size() > kShown)
    t.out(std::to_string(c.labels.size() - kShown) + " more labels are in --json\n");
  t.out(confusion_text(c, t.width()));
}

}  // namespace halftone::cli
