#include "halftone/eval/score.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/threads.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {
namespace {

// Of one request under way.
struct Sum {
  uint64_t key = 0;
  double log_likelihood = 0;
  int64_t left = 0;  // targets
  bool greedy = true;
};

}  // namespace

uint64_t memory_key(std::string_view what, std::span<const int32_t> ids, int64_t first) {
  std::vector<std::byte> bytes;
  const auto add = [&](const void* data, size_t n) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), begin, begin + n);
  };
  add(what.data(), what.size());
  add(&first, sizeof(first));
  add(ids.data(), ids.size_bytes());
  return hash64(bytes);
}

Json remembered(const RunMemory& memory, uint64_t key, FunctionRef<Json()> work) {
  if (memory.find)
    if (auto known = memory.find(key)) return std::move(*known);
  Json found = work();
  if (memory.keep) memory.keep(key, found);
  return found;
}

std::vector<int32_t> TextCodec::operator()(std::string_view text) const {
  return encode(text, !prefix || prefix_text.empty() || !text.starts_with(prefix_text));
}

int32_t TextCodec::prefix_or_throw(std::string_view what_for) const {
  if (prefix) return *prefix;
  throw FileError(
      Code::missing, source,
      "there is neither a BOS nor an EOS token for " + std::string(what_for) + " to begin with", {},
      "name bos_token or eos_token in tokenizer_config.json");
}

EncodedRequest encode_tokens(std::vector<int32_t> context, std::vector<int32_t> continuation,
                             int64_t max_tokens) {
  EncodedRequest out;
  if (continuation.empty()) {
    out.skipped = "the continuation has no tokens of its own";
    return out;
  }
  if (std::ssize(continuation) > max_tokens) {
    out.skipped = "the continuation has " + std::to_string(continuation.size()) +
                  " tokens, the model's context " + std::to_string(max_tokens);
    return out;
  }
  out.targets = std::move(continuation);
  out.fed = std::move(context);
  out.fed.insert(out.fed.end(), out.targets.begin(), out.targets.end() - 1);
  if (std::ssize(out.fed) > max_tokens) {
    out.truncated = true;
    out.fed.erase(out.fed.begin(), out.fed.end() - max_tokens);
  }
  return out;
}

EncodedRequest encode_request(const TextCodec& codec, const Request& request, int64_t max_tokens) {
  const std::string_view kept = rstrip(request.context);
  const std::string continuation = request.context.substr(kept.size()) + request.continuation;
  std::vector<int32_t> context = codec(kept);
  // lm-eval takes the prefix for "" only; a context of nothing but spaces, or one that has no
  // tokens, is an assertion there.
  if (request.context.empty() || context.empty()) {
    const int32_t prefix = codec.prefix_or_throw("an empty context");
    std::vector<int32_t> rest = codec.encode(continuation, false);
    if (!rest.empty() && rest.front() == prefix) rest.erase(rest.begin());
    return encode_tokens({prefix}, std::move(rest), max_tokens);
  }
  std::vector<int32_t> whole = codec(std::string(kept) + continuation);
  const auto length = std::min(context.size(), whole.size());
  return encode_tokens(std::move(context),
                       {whole.begin() + static_cast<std::ptrdiff_t>(length), whole.end()},
                       max_tokens);
}

std::vector<Score> score(LogitSource& source, const TextCodec& codec,
                         std::span<const Request> requests, const Context& context,
                         const ScoreOptions& options) {
  std::vector<EncodedRequest> encoded(requests.size());
  context.pool->each(std::ssize(requests), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    try {
      encoded[at] = encode_request(codec, requests[at], source.context());
    } catch (Error& e) {
      if (options.where) e.note(options.where(at));
      throw;
    }
  });
  return score(source, encoded, context, options);
}

std::vector<Score> score(LogitSource& source, std::span<const EncodedRequest> requests,
                         const Context& context, const ScoreOptions& options) {
  std::vector<Score> scores(requests.size());
  std::vector<WantedText> texts;
  std::vector<size_t> request_of;  // by text
  std::vector<Sum> sums;
  for (size_t i = 0; i < requests.size(); ++i) {
    const EncodedRequest& r = requests[i];
    scores[i].truncated = r.truncated;
    scores[i].skipped = r.skipped;
    if (!r.skipped.empty()) continue;
    const int64_t targets = std::ssize(r.targets);
    uint64_t key = 0;
    if (options.memory.find) {  // all that was fed, and the last target
      std::vector<int32_t> ids = r.fed;
      ids.push_back(r.targets.back());
      key = memory_key("continuation", ids, targets);
      if (const auto kept = options.memory.find(key)) {
        scores[i].log_likelihood = kept->at(0).get<double>();
        scores[i].greedy = kept->at(1).get<bool>();
        continue;
      }
    }
    texts.push_back({r.fed, std::ssize(r.fed) - targets});
    sums.push_back({.key = key, .left = targets});
    request_of.push_back(i);
  }
  double finished = static_cast<double>(requests.size() - texts.size());
  std::vector<RowSum> rows;
  const auto take = [&](std::span<const TextRow> given) {
    rows.resize(std::max(rows.size(), given.size()));
    context.pool->each(std::ssize(given), [&](int64_t i) {
      rows[static_cast<size_t>(i)] = log_sum_exp(given[static_cast<size_t>(i)].logits);
    });
    for (size_t i = 0; i < given.size(); ++i) {
      if (!std::isfinite(rows[i].log_sum))
        throw NumericError(source.label(), options.stage + ": position " +
                                               std::to_string(given[i].position) +
                                               " has a logit that is not finite");
      for (const int64_t text : given[i].texts) {
        const size_t request = request_of[static_cast<size_t>(text)];
        Sum& sum = sums[static_cast<size_t>(text)];
        const auto& targets = requests[request].targets;
        const int32_t target = targets[targets.size() - static_cast<size_t>(sum.left)];
        sum.log_likelihood +=
            static_cast<double>(given[i].logits[static_cast<size_t>(target)]) - rows[i].log_sum;
        sum.greedy &= rows[i].argmax == target;
        if (--sum.left > 0) continue;
        scores[request].log_likelihood = sum.log_likelihood;
        scores[request].greedy = sum.greedy;
        if (options.memory.keep) options.memory.keep(sum.key, {sum.log_likelihood, sum.greedy});
        finished += 1;
      }
    }
    context.progress({options.stage, source.label(), finished, static_cast<double>(requests.size()),
                      "requests"});
  };
  if (options.one_by_one)
    source.LogitSource::each_text(texts, take);
  else
    source.each_text(texts, take);
  for (const Sum& sum : sums) check(sum.left == 0, "every wanted row was given");
  return scores;
}

}  // namespace halftone::eval
