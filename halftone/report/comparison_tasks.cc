#include <map>

#include "halftone/base/json_fields.h"
#include "halftone/base/numbers.h"
#include "halftone/report/comparison_sections.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

constexpr double kPercent = 100;  // what is compared are shares: tasks of right and wrong items

std::string text_at(const Json& row, const char* key) {
  if (!row.contains(key) || row[key].is_null()) return "&#8211;";
  return escape_html(row[key].is_string() ? row[key].get<std::string>() : row[key].dump());
}

std::vector<std::string> task_row(const Json& result, size_t model, size_t t) {
  const Json& task = result["models"][model]["tasks"][t];
  const Figures figures(result);
  const std::string path = model_path(model, "tasks/" + std::to_string(t) + "/");
  const bool skipped = number(task, "skipped") > 0;
  return {text_at(task, "task") + " <span class=\"quiet\">" + text_at(task, "metric") + "</span>",
          figures.fixed(path + "n", 0) +
              (skipped ? " <span class=\"quiet\">" + figures.fixed(path + "skipped", 0) +
                             " skipped</span>"
                       : ""),
          figures.fixed(path + "reference", 1, kPercent),
          figures.fixed(path + "value", 1, kPercent),
          figures.fixed(path + "change", 1, kPercent) +
              figures.interval(path + "change_ci95", 1, kPercent),
          figures.fixed(path + "lost", 0) + "/" + figures.fixed(path + "won", 0),
          figures.significant(path + "p_holm"),
          text_at(task, "verdict")};
}

// Items whose answer became right or wrong.
std::string flipped_items(const Json& task) {
  if (!task.contains("flipped") || task["flipped"].empty()) return {};
  std::vector<std::vector<std::string>> rows;
  for (const Json& item : task["flipped"])
    rows.push_back({text_at(item, "doc_id"), text_at(item, "reference_choice"),
                    text_at(item, "choice"), text_at(item, "label")});
  const int64_t left_off = task.value("flipped_left_off", int64_t{0});
  return folded(
      text_at(task, "task") + ": " +
          std::to_string(task["flipped"].size() + static_cast<size_t>(left_off)) + " items flipped",
      html_table("flipped items of " + text_at(task, "task"),
                 {"item", "reference chose", "model chose", "right"}, rows) +
          (left_off > 0
               ? "<p class=\"quiet\">" + std::to_string(left_off) + " more are not listed.</p>"
               : ""));
}

}  // namespace

std::string tasks_section(const Json& result) {
  if (!any_model_has(result, "tasks")) return {};
  std::string body;
  for (size_t m = 1; m < result["models"].size(); ++m) {
    const Json& model = result["models"][m];
    if (!model.contains("tasks") || model["tasks"].empty()) continue;
    std::vector<std::vector<std::string>> differ, same;
    std::string flips;
    for (size_t t = 0; t < model["tasks"].size(); ++t) {
      const Json& task = model["tasks"][t];
      const bool shown = has_number(task, "p_holm") && number(task, "p_holm") < 0.05;
      (shown ? differ : same).push_back(task_row(result, m, t));
      flips += flipped_items(task);
    }
    const std::string name = model_name(result, m);
    const std::vector<std::string> head = {
        "task",     "n",       "reference", "model", "change, points [95 % paired]",
        "lost/won", "p, Holm", "verdict"};
    body +=
        "<h3>" + name + "</h3>" + chart_place("tasks", "data-model=\"" + std::to_string(m) + "\"");
    if (!differ.empty()) body += html_table("tasks that differ, " + name, head, differ);
    if (!same.empty())
      body += folded(counted(std::ssize(same), "task") + ": no difference shown",
                     html_table("tasks without a difference, " + name, head, same),
                     differ.empty() && same.size() <= 8);
    body += flips;
  }
  return section("tasks", "Tasks",
                 body +
                     "<p class=\"quiet\">Every model answers the same items: the interval is of "
                     "the paired change, p is the exact McNemar test of lost against won, "
                     "corrected by Holm over the tasks of a model.</p>");
}

}  // namespace halftone::report
