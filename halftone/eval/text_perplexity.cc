#include <algorithm>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/eval/perplexity.h"
#include "halftone/eval/task.h"

namespace halftone::eval {

namespace {

[[noreturn]] void absent(const std::string& set, files::Split split,
                         const files::DataPlaces& places) {
  throw FileError(Code::missing, set,
                  "its " + std::string(files::split_name(split)) +
                      " split is not on this machine, " +
                      files::text_set_sought(set, split, places),
                  {}, "set HALFTONE_DATA or --data to the folder that holds it");
}

}  // namespace

std::string left_out_text(const Protocol& protocol, int64_t blank_lines) {
  std::string out;
  if (protocol.dropped > 0) out += ", the last " + counted(protocol.dropped, "token") + " dropped";
  if (blank_lines > 0) out += ", " + counted(blank_lines, "blank line") + " passed over";
  return out;
}

std::vector<std::string> check_data(const Task& task, const files::DataPlaces& places, Env& env,
                                    const std::string& part) {
  std::vector<std::string> paths;
  for (const std::string& file : task.files ? task.files(part) : std::vector<std::string>{}) {
    const std::string path = places.data_dir.empty() ? "" : join_path(places.data_dir, file);
    if (path.empty() || !env.stat(path))
      throw FileError(Code::missing, file,
                      places.data_dir.empty() ? "there is no data folder (HALFTONE_DATA is not set)"
                                              : "is not in the data folder " + places.data_dir,
                      {}, "set HALFTONE_DATA or --data to the folder that holds it");
    paths.push_back(path);
  }
  for (const auto& [set, split] : task.data) {
    const auto path = files::text_set_path(env, set, split, places);
    if (!path) absent(set, split, places);
    paths.push_back(*path);
  }
  return paths;
}

ScoredText scored_text(const std::string& set, files::Split split, const files::DataPlaces& places,
                       const std::function<std::vector<int32_t>(std::string_view)>& encode,
                       const Context& context) {
  const auto found = files::find_text_set(*context.env, set, split, places, context.limits);
  if (!found) absent(set, split, places);
  return {found->label, encode(found->joined()), found->blank_lines};
}

TaskResult text_set_perplexity(const TaskInput& input, const std::string& set, files::Split split) {
  const ScoredText text = scored_text(set, split, input.places, input.encode, input.context);
  const int64_t longest = std::min(kWindow, input.source.context());
  const int64_t window =
      input.window > 0 ? std::min(input.window, input.source.context()) : longest;
  const auto tokens = static_cast<int64_t>(text.ids.size());
  const Protocol protocol = input.stride > 0
                                ? strided_windows(tokens, window, input.stride, input.limit)
                                : gptq_windows(tokens, window, input.limit);
  if (protocol.windows.empty())
    throw InputError(text.label,
                     "has " + std::to_string(tokens) + " tokens, less than a window of " +
                         std::to_string(window),
                     "give more text or a shorter --window");
  const Perplexity result =
      perplexity(input.source, text.ids, protocol, input.context, input.memory);
  if (input.log_sample)
    for (size_t i = 0; i < result.window_nll.size(); ++i)
      input.log_sample({{"task", set},
                        {"window", i},
                        {"begin", protocol.windows[i].begin},
                        {"end", protocol.windows[i].end},
                        {"mean_nll", result.window_nll[i]}});
  const size_t windows = result.window_nll.size();
  const auto ci95 = windows > 1 ? std::optional(result.ci95) : std::nullopt;
  Json json = {{"perplexity", result.perplexity},
               {"ci95", ci95 ? Json(*ci95) : Json()},
               {"mean_nll", result.mean_nll},
               {"tokens", result.tokens},
               {"tokens_dropped", protocol.dropped},
               {"windows", windows},
               {"seconds", result.seconds},
               {"protocol", result.protocol},
               {"data", text.label}};
  if (text.blank_lines > 0) json["blank_lines"] = text.blank_lines;
  return {.metrics = {{"perplexity", result.perplexity, ci95}},
          .basis = result.protocol + ", " + std::to_string(windows) + " windows of " + text.label +
                   left_out_text(protocol, text.blank_lines),
          .seconds = result.seconds,
          .json = std::move(json)};
}

}  // namespace halftone::eval
