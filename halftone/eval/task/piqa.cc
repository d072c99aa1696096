// PIQA, validation: which of two ways reaches a goal. Bisk et al. 2020, arXiv:1911.11641.
// Data: {"goal", "sol1", "sol2"} a line with the labels in NAME-labels.lst beside it (the original
// files), or with "label" in the line.
#include "halftone/base/error.h"
#include "halftone/eval/choice_task.h"
#include "halftone/eval/items.h"

namespace halftone::eval {
namespace {

Items read(const Context& context, std::span<const std::string> paths) {
  auto [rows, blank_lines] = files::read_jsonl(*context.env, paths[0], context.limits);
  if (!rows[0].has("label")) {
    const std::string stem = paths[0].substr(0, paths[0].rfind('.'));
    add_labels(context, rows, paths[0], stem + "-labels.lst");
  }
  Items items{.blank_lines = blank_lines};
  for (files::Document& row : rows) {
    Item item{.where = row.where,
              .question = "Question: " + row.text("goal") + "\nAnswer:",
              .choices = {row.text("sol1"), row.text("sol2")},
              .gold = row.number("label")};
    item.doc = std::move(row.fields);
    items.all.push_back(std::move(item));
  }
  return items;
}

}  // namespace

Task piqa() {
  return choice_task({.name = "piqa",
                      .summary = "acc, acc_norm on PIQA, validation",
                      .data = {.splits = {{files::Split::validation, {"piqa/valid.jsonl"}},
                                          {files::Split::train, {"piqa/train.jsonl"}}},
                               .read = read}});
}

}  // namespace halftone::eval
