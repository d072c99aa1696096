// Items of multiple choice, and the files that they come from.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/files/datasets.h"
#include "halftone/files/documents.h"

namespace halftone::eval {

struct Item {
  Json doc;           // as the data has it: for sample logs, and to tell items apart
  std::string where;  // FILE:LINE
  std::string question;
  std::vector<std::string> choices;
  int64_t gold = 0;
  // Partial evaluation (WinoGrande): each choice is a context of its own, and this is scored behind
  // it.
  std::optional<std::string> ending = {};
};

// Of one file, or several.
struct Items {
  std::vector<Item> all;
  int64_t blank_lines = 0;  // passed over
};

// FileError naming the item unless 0 <= gold < choices and all that is scored has words.
void check_item(const Item& item);

struct ChoiceData {
  // Files of one split below the data folder, in the order in which `read` gets their paths.
  std::map<files::Split, std::vector<std::string>> splits;
  files::Split evaluated = files::Split::validation;
  std::function<Items(const Context& context, std::span<const std::string> paths)> read;
};

// Labels of their own file (0, 1, .. a line) as the field "label" of the rows, one each.
void add_labels(const Context& context, std::vector<files::Document>& rows,
                const std::string& rows_path, const std::string& labels_path);
// The files of a split, if all are in the data folder.
std::optional<std::vector<std::string>> split_paths(const Context& context,
                                                    const std::string& data_dir,
                                                    const ChoiceData& data, files::Split split);
// All items of a split, gold checked. FileError{missing} when its files are not there.
Items read_items(const Context& context, const std::string& data_dir, const ChoiceData& data,
                 files::Split split);

}  // namespace halftone::eval
