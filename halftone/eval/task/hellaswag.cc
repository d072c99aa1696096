// HellaSwag, validation: how a scene goes on. Zellers et al. 2019, arXiv:1905.07830.
// Data: the original {"activity_label", "ctx_a", "ctx_b", "endings", "label"}, cleaned here as
// lm-eval does; or {"query", "endings", "label"}, which somebody cleaned before and is taken as it
// is (the copies in circulation lost the border of ctx_a and ctx_b, so that ctx_b keeps its case).
#include "halftone/eval/choice_task.h"
#include "halftone/eval/items.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

// re.sub(r"\[.*?\]", "", text): no bracket pair reaches over a line end.
std::string without_brackets(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '[') {
      const size_t end = text.find_first_of("]\n", i + 1);
      if (end != std::string_view::npos && text[end] == ']') {
        i = end + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

std::string cleaned(std::string_view text) {
  std::string out = replace_all(std::string(strip(text)), " [title]", ". ");
  return replace_all(without_brackets(out), "  ", " ");
}

Items read(const Context& context, std::span<const std::string> paths) {
  files::Documents documents = files::read_jsonl(*context.env, paths[0], context.limits);
  Items items{.blank_lines = documents.blank_lines};
  for (files::Document& row : documents.rows) {
    Item item{.where = row.where, .choices = row.texts("endings"), .gold = row.number("label")};
    if (row.has("query")) {
      item.question = row.text("query");
    } else {
      item.question = cleaned(row.text("activity_label") + ": " + row.text("ctx_a") + " " +
                              capitalize(row.text("ctx_b")));
      for (std::string& choice : item.choices) choice = cleaned(choice);
    }
    item.doc = std::move(row.fields);
    items.all.push_back(std::move(item));
  }
  return items;
}

}  // namespace

Task hellaswag() {
  return choice_task(
      {.name = "hellaswag",
       .summary = "acc, acc_norm on HellaSwag, validation",
       .data = {.splits = {{files::Split::validation, {"hellaswag/hellaswag_val.jsonl"}},
                           {files::Split::train, {"hellaswag/hellaswag_train.jsonl"}}},
                .read = read},
       .compared = "acc_norm"});
}

}  // namespace halftone::eval
