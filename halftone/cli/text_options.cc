#include "halftone/cli/text_options.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"

namespace halftone::cli {

void add_data(CLI::App& app, std::string& folder) {
  app.add_option("--data", folder, "folder of data sets (default: HALFTONE_DATA)");
}

void add_text(CLI::App& app, std::string& file, std::string& folder) {
  app.add_option("--text", file,
                 "score this .txt, .jsonl or .parquet file instead of wikitext2's test split");
  add_data(app, folder);
}

TextChoice::TextChoice(const std::string& file, const std::string& folder, Session& session)
    : session_(session) {
  if (!folder.empty()) session.places.data_dir = folder;
  if (!file.empty()) {
    own_ =
        files::read_text_file(*session.env, file, session.places.parquet, session.context.limits);
    inputs_.push_back(file);
    return;
  }
  const Table<eval::Task> tasks("task", eval::entries());
  inputs_ = eval::check_data(tasks.at("wikitext2"), session.places, *session.env);
}

eval::ScoredText TextChoice::encoded(
    const std::function<std::vector<int32_t>(std::string_view text)>& encode) const {
  if (own_) return {own_->label, encode(own_->joined()), own_->blank_lines};
  return eval::scored_text("wikitext2", files::Split::test, session_.places, encode,
                           session_.context);
}

CutText cut(eval::ScoredText text, int64_t window, int64_t windows, int64_t stride) {
  const auto tokens = std::ssize(text.ids);
  window = std::min(window, tokens);
  if (window < 2)
    throw InputError(
        text.label,
        "is shorter than one window: " + counted(tokens, "token") + ", and two are scored at least",
        "give more text");
  return {.label = std::move(text.label),
          .ids = std::move(text.ids),
          .window = window,
          .protocol = stride > 0 ? eval::strided_windows(tokens, window, stride, windows)
                                 : eval::gptq_windows(tokens, window, windows),
          .blank_lines = text.blank_lines};
}

}  // namespace halftone::cli
