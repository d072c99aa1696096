// The text that a command measures on: which one its options say, and the windows it is cut into.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "halftone/cli/session.h"
#include "halftone/eval/task.h"
#include "halftone/eval/windows.h"
#include "halftone/files/datasets.h"

namespace halftone::cli {

void add_data(CLI::App& app, std::string& folder);
// --text and --data.
void add_text(CLI::App& app, std::string& file, std::string& folder);

// What --text and --data name: a file, or else WikiText-2's test part.
class TextChoice {
 public:
  // Before any work: FileError where it is not there, or not as such a file is. Sets the session's
  // places where `folder` is given.
  TextChoice(const std::string& file, const std::string& folder, Session& session);
  const std::vector<std::string>& inputs() const { return inputs_; }  // files that are read
  eval::ScoredText encoded(
      const std::function<std::vector<int32_t>(std::string_view text)>& encode) const;

 private:
  const Session& session_;
  std::optional<files::TextSet> own_;
  std::vector<std::string> inputs_;
};

// A text and what is scored of it.
struct CutText {
  std::string label;  // "wikitext2 test"
  std::vector<int32_t> ids;
  int64_t window = 0;  // tokens
  eval::Protocol protocol;
  int64_t blank_lines = 0;  // ScoredText's
  std::vector<std::vector<int32_t>> windows() const { return eval::texts_of(protocol, ids); }
};
// At most `windows` windows of `window` tokens, or of the whole text where it is shorter: GPTQ's, or
// with a `stride` strided ones. InputError when fewer than two tokens are there.
CutText cut(eval::ScoredText text, int64_t window, int64_t windows, int64_t stride = 0);

}  // namespace halftone::cli
