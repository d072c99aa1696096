#include "halftone/eval/sweep.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"

namespace halftone::eval {
namespace {

constexpr int64_t kMostPoints = 10'000'000;
constexpr uint64_t kMostBytes = uint64_t{16} << 30;
constexpr auto kSyncEvery = std::chrono::seconds(1);  // a power cut takes no more; a kill nothing

template <class T>
void check_list(const char* option, const std::vector<T>& values, bool (*good)(T),
                const char* wanted) {
  if (values.empty()) throw InputError(option, "has no values", "leave it out, or give one");
  std::set<T> seen;
  for (const T value : values) {
    if (!good(value)) throw InputError(option, Json(value).dump() + " is not " + wanted);
    if (!seen.insert(value).second)
      throw InputError(option, "has " + Json(value).dump() + " twice");
  }
}

// "model.content, grid.lengths": the keys in which two descriptions differ.
void differing(const Json& a, const Json& b, const std::string& at, std::vector<std::string>& out) {
  if (a == b) return;
  if (!a.is_object() || !b.is_object()) return out.push_back(at);
  std::set<std::string> keys;
  for (const Json* side : {&a, &b})
    for (const auto& item : side->items()) keys.insert(item.key());
  for (const std::string& key : keys)
    differing(a.value(key, Json()), b.value(key, Json()), at.empty() ? key : at + "." + key, out);
}

// What the grid says of a point, as it stands in a line.
Json point_json(const SweepGrid& grid, int64_t index) {
  const SweepPoint p = sweep_point(grid, index);
  return {{"index", index},
          {"prompt", p.prompt},
          {"max_new_tokens", grid.lengths[static_cast<size_t>(p.length)]},
          {"temperature", grid.temperatures[static_cast<size_t>(p.temperature)]},
          {"top_k", grid.top_ks[static_cast<size_t>(p.top_k)]},
          {"sample", p.sample},
          {"seed", sweep_seed(grid, p)}};
}

}  // namespace

int64_t SweepGrid::size() const {
  return std::ssize(prompts) * std::ssize(lengths) * std::ssize(temperatures) * std::ssize(top_ks) *
         samples;
}

void validate(const SweepGrid& grid) {
  check_list<int64_t>(
      "--lengths", grid.lengths, [](int64_t n) { return n > 0 && n <= int64_t{1} << 31; },
      "a number of tokens");
  check_list<double>(
      "--temperatures", grid.temperatures, [](double t) { return t > 0 && std::isfinite(t); },
      "more than 0 (top_k 1 is greedy)");
  check_list<int64_t>(
      "--top-k", grid.top_ks, [](int64_t k) { return k > 0; }, "1 (greedy) or more");
  if (grid.samples < 1) throw InputError("--samples", "is less than 1");
  if (grid.prompts.empty()) throw InputError("--prompts", "has no prompts");
  if (std::set(grid.prompts.begin(), grid.prompts.end()).size() != grid.prompts.size())
    throw InputError("--prompts", "has a prompt twice: both would get the same texts");
  double points = static_cast<double>(grid.samples);
  for (const size_t n :
       {grid.prompts.size(), grid.lengths.size(), grid.temperatures.size(), grid.top_ks.size()})
    points *= static_cast<double>(n);
  if (points > static_cast<double>(kMostPoints))
    throw InputError("sweep", "has " + Json(points).dump() + " samples, more than ten million",
                     "give fewer values");
}

SweepPoint sweep_point(const SweepGrid& grid, int64_t index) {
  SweepPoint out;
  const auto take = [&index](int64_t count) {
    const int64_t digit = index % count;
    index /= count;
    return digit;
  };
  out.sample = take(grid.samples);
  out.top_k = take(std::ssize(grid.top_ks));
  out.temperature = take(std::ssize(grid.temperatures));
  out.length = take(std::ssize(grid.lengths));
  out.prompt = index;
  return out;
}

uint64_t sweep_seed(const SweepGrid& grid, const SweepPoint& p) {
  const std::string text = Json::array({grid.prompts[static_cast<size_t>(p.prompt)],
                                        grid.lengths[static_cast<size_t>(p.length)],
                                        grid.temperatures[static_cast<size_t>(p.temperature)],
                                        grid.top_ks[static_cast<size_t>(p.top_k)], p.sample})
                               .dump();
  return hash64(std::as_bytes(std::span(text.data(), text.size()))) & (~uint64_t{0} >> 1);
}

std::vector<std::string> default_prompts() {
  return {"Once upon a time there was a little boat that",
          "The old man opened the letter and",
          "In the morning the children went to the park, where",
          "The most important thing about clean water is",
          "To bake a simple bread at home, first",
          "The history of the steam engine begins with",
          "Dear neighbours, I am writing to you because",
          "A computer program follows instructions, which means that",
          "On the last day of the long journey we",
          "People often disagree about music because"};
}

std::string SweepShard::suffix() const {
  return of == 1 ? "" : ".shard-" + std::to_string(number) + "-of-" + std::to_string(of);
}

SweepFile::SweepFile(Env& env, std::string path, SweepGrid grid, Json about, bool fresh)
    : env_(env), path_(std::move(path)), grid_(std::move(grid)), about_(std::move(about)) {
  validate(grid_);
  samples_.resize(static_cast<size_t>(grid_.size()));
  lock_ = env_.lock(path_);
  int64_t found = 0;
  const uint64_t whole = fresh ? 0 : read(path_, found);
  env_.truncate(path_, whole);
  if (whole == 0) append(about_.dump());
}

// Bytes up to the end of the last whole line. Only the last line may be cut.
uint64_t SweepFile::read(const std::string& path, int64_t& fresh_samples) {
  const std::string text = env_.read_text(path, kMostBytes);
  sorted_ = true;
  int64_t number = 0, last = -1;
  size_t at = 0;
  for (size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string where = path + ": line " + std::to_string(++number);
    const Json line = parse_json(std::string_view(text).substr(at, end - at), where);
    if (number == 1) {
      std::vector<std::string> keys;
      differing(line, about_, "", keys);
      if (!keys.empty())
        throw FileError(Code::mismatch, path, "is of another run, which differs in " + listed(keys),
                        {}, "--fresh makes it anew, or choose another folder");
      continue;
    }
    const auto refuse = [&](const std::string& fact) {
      throw FileError(Code::value, where, fact, {},
                      "remove the line, or make all anew with --fresh");
    };
    if (!line.is_object() || !line.contains("index") || !line["index"].is_number_integer())
      refuse("has no \"index\"");
    const auto index = line["index"].get<int64_t>();
    if (index < 0 || index >= grid_.size()) refuse("is no sample of this grid");
    const Json point = point_json(grid_, index);
    for (const auto& [key, value] : point.items())
      if (line.value(key, Json()) != value)
        refuse("its " + key + " is not that of sample " + std::to_string(index));
    Json& kept = samples_[static_cast<size_t>(index)];
    if (path == path_ && !kept.is_null()) refuse("has sample " + std::to_string(index) + " again");
    sorted_ = sorted_ && index == last + 1;
    last = index;
    if (!kept.is_null()) continue;  // a shard's, which another shard or this file has too
    kept = line;
    ++fresh_samples;
  }
  sorted_ = sorted_ && last + 1 == grid_.size();
  return at;
}

int64_t SweepFile::adopt_shards() {
  int64_t found = 0;
  const std::string folder = parent_path(path_), name = file_name(path_);
  const std::string start = name.substr(0, name.size() - std::string(".jsonl").size()) + ".shard-";
  for (const std::string& other : env_.list(folder)) {
    if (!other.starts_with(start) || !other.ends_with(".jsonl")) continue;
    const auto held = env_.lock(join_path(folder, other));  // not one that is being written
    read(join_path(folder, other), found);
  }
  if (found > 0) sorted_ = false;
  return found;
}

std::vector<int64_t> SweepFile::missing(const SweepShard& shard) const {
  std::vector<int64_t> out;
  for (int64_t i = shard.number - 1; i < grid_.size(); i += shard.of)
    if (samples_[static_cast<size_t>(i)].is_null()) out.push_back(i);
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) {
    const auto length = [&](int64_t i) {
      return grid_.lengths[static_cast<size_t>(sweep_point(grid_, i).length)];
    };
    return length(a) > length(b);
  });
  return out;
}

void SweepFile::append(const std::string& line) {
  if (!file_) file_ = env_.create(path_, true);
  file_->write(line + "\n");
  const auto now = std::chrono::steady_clock::now();
  if (now - synced_ < kSyncEvery) return;
  file_->sync();
  synced_ = now;
}

void SweepFile::add(int64_t index, const Json& result) {
  Json& kept = samples_[static_cast<size_t>(index)];
  check(kept.is_null(), "a sample of a sweep was made twice");
  kept = point_json(grid_, index);
  kept.update(result);
  sorted_ = false;
  append(kept.dump());
}

void SweepFile::finish() {
  if (sorted_) return;
  std::string text = about_.dump() + "\n";
  for (const Json& sample : samples_)
    if (!sample.is_null()) text += sample.dump() + "\n";
  if (file_) file_->close();
  file_.reset();
  write_atomically(env_, path_, text);
  sorted_ = true;
}

Json statistics_json(const TextStatistics& s) {
  const auto number = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json();
  };
  return {{"words", s.words},
          {"content_words", s.content_words},
          {"duplicates", s.duplicates},
          {"duplicates_per_content_word", number(s.duplicates_per_content_word)},
          {"distinct_1", number(s.distinct_1)},
          {"distinct_2", number(s.distinct_2)},
          {"distinct_3", number(s.distinct_3)},
          {"repetition_rate", number(s.repetition_rate)},
          {"prompt_similarity", number(s.prompt_similarity)}};
}

}  // namespace halftone::eval
