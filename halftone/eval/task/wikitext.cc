// WikiText-2 raw, test, document by document, as lm-eval's task wikitext: word and byte perplexity,
// bits per byte. (wikitext2 is the perplexity that quantization papers report.)
//
// A page loses the spaces of its tokenization; its tokens are scored in windows of the model's
// context that do not overlap, the first after BOS (or else EOS), each later one after one token of
// context; the last window reaches back as far as the context does. Words and bytes are counted in
// the page as it was.
#include <chrono>
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/task.h"
#include "halftone/eval/wikitext_pages.h"
#include "halftone/files/documents.h"

namespace halftone::eval {
namespace {

// get_rolling_token_windows and make_disjoint_window of lm-eval, context_len = 1.
std::vector<EncodedRequest> windows_of(const std::vector<int32_t>& t, int32_t prefix,
                                       int64_t most) {
  std::vector<EncodedRequest> out;
  const int64_t total = std::ssize(t);
  const auto at = [&](int64_t i) { return t.begin() + i; };
  for (int64_t done = 0; done < total;) {
    const int64_t count = std::min(total - done, most), end = done + count;
    EncodedRequest window;
    if (done == 0) {
      window.fed = {prefix};
      window.fed.insert(window.fed.end(), at(0), at(end - 1));
    } else {
      window.fed.assign(at(end - most - 1), at(end - 1));
    }
    window.targets.assign(at(done), at(end));
    out.push_back(std::move(window));
    done = end;
  }
  return out;
}

struct Page {
  double log_likelihood = 0, words = 0, bytes = 0;
};

TaskResult run(const TaskInput& input) {
  const auto start = std::chrono::steady_clock::now();
  if (input.shots.value_or(0) > 0)
    throw InputError("--num-fewshot", "a perplexity takes no examples",
                     "leave it out for wikitext");
  const auto set = files::find_text_set(*input.context.env, "wikitext2", files::Split::test,
                                        input.places, input.context.limits);
  check(set.has_value(), "check_data has looked for the text");
  std::string text;
  for (const std::string& row : set->rows) text += row.empty() ? " \n" : row;
  std::vector<std::string> pages = wikitext_pages(text);
  if (input.limit > 0 && std::ssize(pages) > input.limit)
    pages.resize(static_cast<size_t>(input.limit));
  const int32_t prefix = input.codec.prefix_or_throw("each page of " + set->path);
  const int64_t most = input.window > 0 ? input.window : input.source.context();
  std::vector<EncodedRequest> windows;
  std::vector<size_t> page_of;
  for (size_t p = 0; p < pages.size(); ++p)
    for (EncodedRequest& w : windows_of(input.codec(wikitext_detokenize(pages[p])), prefix, most)) {
      windows.push_back(std::move(w));
      page_of.push_back(p);
    }
  const std::vector<Score> scores =
      score(input.source, windows, input.context,
            {.stage = "wikitext", .memory = input.memory, .one_by_one = true});
  std::vector<Page> sums(pages.size());
  int64_t tokens = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    sums[page_of[w]].log_likelihood += scores[w].log_likelihood;
    tokens += std::ssize(windows[w].targets);
  }
  for (size_t p = 0; p < pages.size(); ++p) {
    sums[p].words = static_cast<double>(count_split_by_spaces(pages[p]));
    sums[p].bytes = static_cast<double>(pages[p].size());
    if (input.log_sample)
      input.log_sample({{"task", "wikitext"},
                        {"doc_id", p},
                        {"doc", {{"page", pages[p]}}},
                        {"resps", Json::array({Json::array({repr(sums[p].log_likelihood)})})},
                        {"log_likelihood", sums[p].log_likelihood},
                        {"words", sums[p].words},
                        {"bytes", sums[p].bytes}});
  }
  const auto n = std::ssize(sums);
  // -sum of log-likelihoods / sum of words or bytes, over pages drawn.
  const auto rate = [&](double Page::*unit) {
    return [&, unit](std::span<const double> multiplicity) {
      double likely = 0, units = 0;
      for (size_t p = 0; p < sums.size(); ++p) {
        likely += multiplicity[p] * sums[p].log_likelihood;
        units += multiplicity[p] * (sums[p].*unit);
      }
      return -likely / units;
    };
  };
  TaskResult out;
  out.json = Json::object();
  const auto say = [&](const std::string& name, double Page::*unit, auto shape) {
    const std::vector<double> once(sums.size(), 1.0);
    const double value = shape(rate(unit)(once));
    std::optional<Interval> ci95;
    if (n > 1) {
      const Interval of = bootstrap(n, rate(unit));
      ci95 = {shape(of[0]), shape(of[1])};
    }
    out.json[name] = value;
    out.json[name + "_ci95"] = ci95 ? Json(*ci95) : Json();
    out.metrics.push_back({name, value, ci95});
  };
  const auto exponential = [](double x) { return std::exp(x); };
  say("word_perplexity", &Page::words, exponential);
  say("byte_perplexity", &Page::bytes, exponential);
  say("bits_per_byte", &Page::bytes, [](double x) { return x / std::log(2.0); });
  out.json["n"] = n;
  out.json["tokens"] = tokens;
  out.json["windows"] = windows.size();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.json["seconds"] = out.seconds;
  out.json["protocol"] = "lm-eval-0.4 rolling-" + std::to_string(most);
  out.json["data"] = set->label;
  out.basis =
      "rolling-" + std::to_string(most) + ", " + std::to_string(n) + " pages of " + set->label;
  return out;
}

}  // namespace

Task wikitext() {
  return {.summary = "word and byte perplexity, bits per byte on WikiText-2 raw, test, by document",
          .data = {{"wikitext2", files::Split::test}},
          .run = run,
          .of_items = true};
}

}  // namespace halftone::eval
