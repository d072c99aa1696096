#include "halftone/recipe/calibration.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/numbers.h"
#include "halftone/base/rng.h"

namespace halftone::recipe {
namespace {

using Request = CalibrationRequest;
using Ids = std::vector<int32_t>;

// Text as the two window rules want it: a list of documents, and whether the published scripts see
// one joined text instead.
struct Corpus {
  std::string label;
  std::vector<std::string> documents;
  bool joined = false;
  std::string joint;
};

constexpr std::string_view kSeparator = "<|endoftext|>";

std::vector<std::string> split_stories(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(kSeparator, at), text.size());
    std::string story = text.substr(at, end - at);
    while (!story.empty() && (story.front() == '\n' || story.front() == '\r'))
      story.erase(story.begin());
    while (!story.empty() && (story.back() == '\n' || story.back() == '\r')) story.pop_back();
    if (!story.empty()) out.push_back(std::move(story));
    at = end + kSeparator.size();
  }
  return out;
}

// WikiText-2's rows are lines; an article begins at a heading of the first level, " = Title = ".
std::vector<std::string> articles(const files::TextSet& set) {
  std::vector<std::string> out;
  bool begun = false;  // blank rows before the first heading belong to it
  for (const std::string& row : set.rows) {
    const bool heading = row.starts_with(" = ") && !row.starts_with(" = =");
    if (out.empty() || (heading && begun)) {
      out.push_back(row);
    } else {
      out.back() += set.joint + row;
    }
    begun |= heading;
  }
  return out;
}

bool is_path(const std::string& data, Env& env) {
  if (data.find('/') != std::string::npos || data.ends_with(".txt") || data.ends_with(".jsonl") ||
      data.ends_with(".parquet"))
    return true;
  const auto info = env.stat(data);
  return info && info->is_regular;
}

[[noreturn]] void refuse_missing_set(const std::string& data, const files::DataPlaces& places) {
  throw FileError(Code::missing, data,
                  "this calibration set is not on this machine, " +
                      files::text_set_sought(data, files::Split::train, places),
                  {},
                  "set HALFTONE_DATA to the folder that holds it, give a file (--data text.txt), "
                  "or sample from the model (--data self)");
}

Corpus read_corpus(const std::string& data, const files::DataPlaces& places,
                   const Context& context) {
  if (is_path(data, *context.env)) {
    files::TextSet set = files::read_text_file(*context.env, data, places.parquet, context.limits);
    const bool joined = !data.ends_with(".jsonl") && !data.ends_with(".parquet");
    return {set.label, joined ? split_stories(set.rows.front()) : std::move(set.rows), joined,
            "\n\n"};
  }
  auto set = files::find_text_set(*context.env, data, files::Split::train, places, context.limits);
  if (!set) refuse_missing_set(data, places);
  if (!set->caution.empty()) context.warn(data + ": " + set->caution);
  if (data == "wikitext2") return {set->label, articles(*set), true, set->joint};
  if (data == "ptb") return {set->label, {set->joined()}, true, set->joint};
  return {set->label, std::move(set->rows), false, set->joint};
}

class Maker {
 public:
  Maker(const Request& request, const TextSide& text, const Context& context)
      : request_(request), text_(text), context_(context) {
    if (request.bos == Request::Bos::each_sample && text.bos < 0)
      throw InputError("calibration",
                       "bos is each_sample, but the model's tokenizer has no BOS token",
                       "use bos: auto or never");
    if (request.chat_template && !text.chat_template)
      throw InputError("calibration", "chat_template is on, but the model has no chat template",
                       "use chat_template: false");
    first_bos_ = request.bos == Request::Bos::auto_ && text.adds_bos && text.bos >= 0;
    body_ = request.length - (request.bos == Request::Bos::each_sample ? 1 : 0);
  }

  CalibrationSet make(const Corpus& corpus) {
    out_.report.data = corpus.label;
    out_.report.chat_template = request_.chat_template ? "each document is one user turn" : "none";
    out_.report.bos = request_.bos == Request::Bos::each_sample ? "before each sample" : "none";
    if (request_.windows == Request::Windows::document) {
      pack_documents(corpus);
    } else if (corpus.joined) {
      draw_from_joined(corpus);
    } else {
      draw_from_documents(corpus);
    }
    return finish();
  }

  CalibrationSet sample() {
    out_.report.data = "self";
    out_.report.windows = "each sample is one sequence sampled from the model";
    out_.report.bos = text_.bos >= 0 ? "as the model begins" : "none";
    out_.report.chat_template = "none";
    out_.samples = text_.sample(request_.samples, request_.length, request_.seed);
    for (const Ids& ids : out_.samples)
      check(static_cast<int64_t>(ids.size()) == request_.length,
            "a sampled sequence has another length than asked");
    check(static_cast<int64_t>(out_.samples.size()) == request_.samples,
          "fewer sequences were sampled than asked");
    const int64_t total = request_.samples * request_.length;
    out_.report.tokens_available = out_.report.tokens_used = total;
    out_.report.documents = request_.samples;
    return finish();
  }

 private:
  CalibrationSet finish() {
    CalibrationReport& r = out_.report;
    r.samples = static_cast<int64_t>(out_.samples.size());
    r.length = request_.length;
    r.fingerprint = fingerprint_ids(out_.samples);
    return std::move(out_);
  }

  Ids encode(const std::string& document, bool with_bos) const {
    context_.throw_if_stopped();
    Ids ids = text_.encode(request_.chat_template ? text_.chat_template(document) : document);
    if (with_bos) ids.insert(ids.begin(), text_.bos);
    return ids;
  }

  void add_window(std::span<const int32_t> body) {
    Ids ids;
    ids.reserve(static_cast<size_t>(request_.length));
    if (body_ < request_.length) ids.push_back(text_.bos);
    ids.insert(ids.end(), body.begin(), body.end());
    out_.samples.push_back(std::move(ids));
  }

  void pack_documents(const Corpus& corpus) {
    std::vector<size_t> order(corpus.documents.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const CounterRng rng(request_.seed, 0xca11b);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.u32(i) % i]);

    const auto wanted = static_cast<size_t>(request_.samples * body_);
    Ids stream;
    int64_t documents = 0;
    for (size_t d = 0; d < order.size() && stream.size() < wanted; ++d) {
      const Ids ids = encode(corpus.documents[order[d]], first_bos_);
      stream.insert(stream.end(), ids.begin(), ids.end());
      documents += ids.size() > (first_bos_ ? 1u : 0u);
      context_.progress({.stage = "calibration text",
                         .detail = corpus.label,
                         .done = static_cast<double>(stream.size()),
                         .total = static_cast<double>(wanted),
                         .unit = "tok"});
    }
    if (stream.size() < wanted) {
      const int64_t fit = static_cast<int64_t>(stream.size()) / body_;
      throw InputError(
          "calibration",
          corpus.label + " has " + std::to_string(stream.size()) + " tokens, " +
              counted(request_.samples, "sample") + " of " + std::to_string(request_.length) +
              " need " + std::to_string(wanted),
          (fit > 0 ? "use --samples " + std::to_string(fit) + ", a shorter --length"
                   : std::string("use a shorter --length")) +
              ", more text (--data), or overlapping windows (windows: gptq in the recipe)");
    }
    for (int64_t s = 0; s < request_.samples; ++s)
      add_window(
          std::span(stream).subspan(static_cast<size_t>(s * body_), static_cast<size_t>(body_)));
    CalibrationReport& r = out_.report;
    r.windows = "documents in seeded order, end to end, cut without overlap";
    if (first_bos_) r.bos = "before each document";
    r.tokens_available = static_cast<int64_t>(stream.size());
    r.tokens_used = static_cast<int64_t>(wanted);
    r.tokens_dropped = r.tokens_available - r.tokens_used;
    r.documents = documents;
  }

  // Counts distinct positions over half-open windows of one document.
  static int64_t covered(std::vector<std::pair<int64_t, int64_t>> windows) {
    std::sort(windows.begin(), windows.end());
    int64_t total = 0, end = 0;
    for (const auto& [first, last] : windows) {
      total += std::max<int64_t>(0, last - std::max(first, end));
      end = std::max(end, last);
    }
    return total;
  }

  void refuse_joined_template() const {
    if (request_.chat_template)
      throw InputError("calibration",
                       "a chat template needs documents, and windows: gptq joins them",
                       "use windows: document");
  }

  void draw_from_joined(const Corpus& corpus) {
    refuse_joined_template();
    std::string joined;
    for (size_t d = 0; d < corpus.documents.size(); ++d)
      joined += (d ? corpus.joint : "") + corpus.documents[d];
    const Ids ids = encode(joined, first_bos_);
    const auto total = static_cast<int64_t>(ids.size());
    if (total <= body_)
      throw InputError("calibration",
                       corpus.label + " has " + std::to_string(total) + " tokens, one window of " +
                           std::to_string(request_.length) + " needs more",
                       "use a shorter --length or more text (--data)");
    PythonRandom random(request_.seed);
    std::vector<std::pair<int64_t, int64_t>> windows;
    for (int64_t s = 0; s < request_.samples; ++s) {
      const int64_t i = random.randint(0, total - body_ - 1);
      add_window(std::span(ids).subspan(static_cast<size_t>(i), static_cast<size_t>(body_)));
      windows.emplace_back(i, i + body_);
    }
    CalibrationReport& r = out_.report;
    r.windows = "random windows of the joined text, as the GPTQ scripts draw them";
    if (first_bos_) r.bos = "once, before the joined text";
    r.tokens_available = total;
    r.tokens_used = covered(windows);
    r.tokens_dropped = total - r.tokens_used;
    r.tokens_repeated = request_.samples * body_ - r.tokens_used;
    r.documents = documents_touched(corpus, windows);
    if (request_.samples * body_ > total)
      r.scarce = corpus.label + " has " + std::to_string(total) + " tokens, fewer than the " +
                 counted(request_.samples, "window") + " of " + std::to_string(request_.length) +
                 " hold (" + std::to_string(request_.samples * body_) + "): windows overlap";
  }

  // Where documents begin in the joined text is known to a few tokens only (the joint may melt into
  // its neighbours), which is enough to count them.
  int64_t documents_touched(const Corpus& corpus,
                            const std::vector<std::pair<int64_t, int64_t>>& windows) const {
    if (corpus.documents.size() == 1) return 1;
    int64_t begin = 0, touched = 0;
    for (const std::string& document : corpus.documents) {
      const int64_t end = begin + static_cast<int64_t>(encode(document, false).size());
      touched += std::any_of(windows.begin(), windows.end(),
                             [&](const auto& w) { return w.first < end && w.second > begin; });
      begin = end;
    }
    return touched;
  }

  void draw_from_documents(const Corpus& corpus) {
    refuse_joined_template();
    PythonRandom random(request_.seed);
    std::map<int64_t, Ids> read;
    std::map<int64_t, std::vector<std::pair<int64_t, int64_t>>> windows;
    const auto count = static_cast<int64_t>(corpus.documents.size());
    int64_t longest = 0;
    bool possible = false;
    const auto ids_of = [&](int64_t d) -> const Ids& {
      auto it = read.find(d);
      if (it == read.end())
        it = read.emplace(d, encode(corpus.documents[static_cast<size_t>(d)], first_bos_)).first;
      const auto size = static_cast<int64_t>(it->second.size());
      longest = std::max(longest, size);
      possible |= size > body_;
      return it->second;
    };
    for (int64_t s = 0; s < request_.samples; ++s) {
      const Ids* ids = nullptr;
      int64_t document = 0;
      for (int64_t tries = 0; !ids; ++tries) {
        // Random picks that keep missing may mean that nothing fits: look at all documents once,
        // then decide.
        if (tries == 1000 && !possible) {
          for (int64_t d = 0; d < count; ++d) ids_of(d);
          if (!possible)
            throw InputError("calibration",
                             "no document of " + corpus.label + " is longer than " +
                                 std::to_string(body_) + " tokens (the longest has " +
                                 std::to_string(longest) + ")",
                             "use a shorter --length, or windows: document in the recipe");
        }
        document = random.randint(0, count - 1);
        const Ids& candidate = ids_of(document);
        // The scripts take >=, and then crash on an exact fit; a longer document they treat alike.
        if (static_cast<int64_t>(candidate.size()) > body_) ids = &candidate;
      }
      const int64_t i = random.randint(0, static_cast<int64_t>(ids->size()) - body_ - 1);
      add_window(std::span(*ids).subspan(static_cast<size_t>(i), static_cast<size_t>(body_)));
      windows[document].emplace_back(i, i + body_);
    }
    CalibrationReport& r = out_.report;
    r.windows = "random documents, a random window in each, as the GPTQ scripts draw them";
    if (first_bos_) r.bos = "before each document";
    for (const auto& [d, ids] : read) r.tokens_available += static_cast<int64_t>(ids.size());
    for (const auto& [d, list] : windows) r.tokens_used += covered(list);
    r.tokens_dropped = r.tokens_available - r.tokens_used;
    r.tokens_repeated = request_.samples * body_ - r.tokens_used;
    r.documents = static_cast<int64_t>(windows.size());
    if (r.documents < request_.samples)
      r.scarce = corpus.label + ": " + counted(request_.samples, "window") + " of " +
                 std::to_string(body_) + " tokens come from " + counted(r.documents, "document") +
                 ", because documents are drawn again";
  }

  const Request& request_;
  const TextSide& text_;
  const Context& context_;
  CalibrationSet out_;
  bool first_bos_ = false;
  int64_t body_ = 0;  // tokens of text in a sample
};

}  // namespace

std::string fingerprint_ids(const std::vector<Ids>& samples) {
  Hasher hasher;
  for (const Ids& ids : samples) {
    const auto size = static_cast<uint64_t>(ids.size());
    hasher.add(std::as_bytes(std::span(&size, 1)));
    hasher.add(std::as_bytes(std::span(ids)));
  }
  return hasher.hex();
}

Json to_json(const CalibrationReport& r) {
  Json out = {{"data", r.data},
              {"windows", r.windows},
              {"bos", r.bos},
              {"chat_template", r.chat_template},
              {"samples", r.samples},
              {"length", r.length},
              {"tokens_available", r.tokens_available},
              {"tokens_used", r.tokens_used},
              {"tokens_dropped", r.tokens_dropped},
              {"tokens_repeated", r.tokens_repeated},
              {"documents", r.documents},
              {"fingerprint", r.fingerprint}};
  if (!r.scarce.empty()) out["scarce"] = r.scarce;
  return out;
}

std::string find_calibration(const std::string& data, const files::DataPlaces& places,
                             const Context& context) {
  Env& env = *context.env;
  const auto here = [&](const std::string& set) {
    return files::text_set_path(env, set, files::Split::train, places).has_value();
  };
  if (data == "auto") {
    if (here("wikitext2")) return "wikitext2";
    context.warn("WikiText-2 is not at hand: calibration text is sampled from the model");
    return "self";
  }
  if (data == "self") return data;
  if (is_path(data, env)) {
    const auto info = env.stat(data);
    if (info && !info->is_regular)
      throw FileError(Code::type, data, "is not a file", {},
                      "give a .txt, .jsonl or .parquet file; --data takes a folder of data sets");
    if (!info)
      throw FileError(Code::missing, data, "no such file", {},
                      "give a .txt, .jsonl or .parquet file, or the name of a set");
  } else if (!here(data)) {
    refuse_missing_set(data, places);
  }
  return data;
}

CalibrationSet make_calibration(const Request& request, const TextSide& text,
                                const files::DataPlaces& places, const Context& context) {
  Maker maker(request, text, context);
  const std::string data = find_calibration(request.data, places, context);
  CalibrationSet out;
  if (data == "self") {
    if (!text.sample)
      throw UnsupportedError("calibration", "sampling from the model needs an engine",
                             "name a set or a file with --data");
    out = maker.sample();
  } else {
    out = maker.make(read_corpus(data, places, context));
  }
  if (!out.report.scarce.empty()) context.warn(out.report.scarce);
  return out;
}

}  // namespace halftone::recipe
