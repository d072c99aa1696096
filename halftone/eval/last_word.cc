#include "halftone/eval/last_word.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/eval/accuracy.h"
#include "halftone/eval/choice.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/sample_log.h"

namespace halftone::eval {
namespace {

std::string passage(const files::Document& doc) {
  std::string text = doc.text("text");
  if (strip(text).empty())
    throw FileError(Code::value, doc.where, "the passage has no word", {},
                    "mend or remove the line");
  return text;
}

// The text before its last space, and " " + the rest (all of it when there is no space).
Request request_of(const TaskInput& input, const std::string& text) {
  const size_t space = text.rfind(' ');
  const bool none = space == std::string::npos;
  Request request{none ? "" : text.substr(0, space), " " + (none ? text : text.substr(space + 1))};
  if (input.chat)
    request.context = input.chat(Json::array({{{"role", "user"}, {"content", request.context}}}));
  return request;
}

struct Passages {
  std::vector<files::Document> docs;
  std::vector<Request> requests;
  int64_t blank_lines = 0;
};

Passages passages(const TaskInput& input, const std::string& name, const std::string& file) {
  if (input.shots.value_or(0) > 0)
    throw InputError("--num-fewshot", name + " has no part to take examples from",
                     "leave it out for this task");
  Passages out;
  files::Documents read = files::read_jsonl(
      *input.context.env, join_path(input.places.data_dir, file), input.context.limits);
  out.docs = std::move(read.rows);
  out.blank_lines = read.blank_lines;
  for (const files::Document& doc : out.docs)
    out.requests.push_back(request_of(input, passage(doc)));
  if (input.limit > 0 && std::ssize(out.docs) > input.limit) {
    out.docs.erase(out.docs.begin() + input.limit, out.docs.end());
    out.requests.resize(out.docs.size());
  }
  return out;
}

TaskResult run(const TaskInput& input, const std::string& name, const std::string& file) {
  const auto start = std::chrono::steady_clock::now();
  const Passages all = passages(input, name, file);
  const auto& docs = all.docs;
  const auto& requests = all.requests;
  const std::vector<Score> scores = score(
      input.source, input.codec, requests, input.context,
      {.stage = name, .memory = input.memory, .where = [&](size_t i) { return docs[i].where; }});
  ChoiceScores counts{.requests = std::ssize(requests), .blank_lines = all.blank_lines};
  std::vector<double> likely;
  for (size_t i = 0; i < docs.size(); ++i) {
    const Score& s = scores[i];
    counts.truncated += s.truncated;
    if (input.take_outcome) {
      const int64_t right = s.skipped.empty() ? s.greedy : -1;
      input.take_outcome({name, static_cast<int64_t>(i), 1, right, right});
    }
    std::vector<std::pair<std::string, double>> metrics;
    if (s.skipped.empty()) {
      likely.push_back(s.log_likelihood);
      counts.acc.push_back(s.greedy);
      metrics = {{"perplexity", s.log_likelihood}, {"acc", counts.acc.back()}};
    } else {
      counts.skipped_items.push_back(docs[i].where + ": not scored: " + s.skipped);
    }
    if (input.log_sample)
      input.log_sample(sample_line({.task = name,
                                    .id = static_cast<int64_t>(i),
                                    .doc = docs[i].fields,
                                    .target = requests[i].continuation,
                                    .requests = {&requests[i], 1},
                                    .scores = {&s, 1},
                                    .metrics = metrics,
                                    .skipped = s.skipped}));
  }
  warn_of_skipped(counts, input.context);
  TaskResult out;
  out.json = Json::object();
  if (!likely.empty()) {
    const auto n = static_cast<double>(likely.size());
    const double mean = std::accumulate(likely.begin(), likely.end(), 0.0) / n;
    std::optional<Interval> ci95;
    if (likely.size() > 1) {
      const Interval of_mean =
          bootstrap(std::ssize(likely), [&](std::span<const double> multiplicity) {
            return std::inner_product(likely.begin(), likely.end(), multiplicity.begin(), 0.0) / n;
          });
      ci95 = {std::exp(-of_mean[1]), std::exp(-of_mean[0])};
    }
    out.json["perplexity"] = std::exp(-mean);
    out.json["perplexity_ci95"] = ci95 ? Json(*ci95) : Json();
    out.metrics.push_back({"perplexity", std::exp(-mean), ci95});
  }
  report("acc", accuracy(counts.acc), out.json, out.metrics);
  report_counts(input, counts, out.json);
  out.basis = std::to_string(likely.size()) + " passages of " + name + counts_text(counts);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.json["seconds"] = out.seconds;
  out.json["protocol"] = "lm-eval-0.4";
  out.json["data"] = name + " test";
  return out;
}

}  // namespace

Task last_word(const std::string& name, const std::string& file) {
  return {.summary = "perplexity, acc of the last word of passages, " + file,
          .run = [=](const TaskInput& input) { return run(input, name, file); },
          .files = [=](const std::string&) { return std::vector<std::string>{file}; },
          .check =
              [=](const Context& context, const std::string& data_dir, const std::string&) {
                const files::Documents read =
                    files::read_jsonl(*context.env, join_path(data_dir, file), context.limits);
                for (const files::Document& doc : read.rows) passage(doc);
              },
          .of_items = true,
          .compared = "acc",
          .work =
              [=](const TaskInput& input) {
                StageWork out{name, 0};
                for (const Request& r : passages(input, name, file).requests)
                  out.bytes += static_cast<double>(r.context.size() + r.continuation.size());
                return std::vector{out};
              }};
}

}  // namespace halftone::eval
