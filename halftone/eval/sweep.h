// The generation study: one text for each (prompt, length, temperature, top_k, index), and what of
// it is done already.
//
// A sample is fixed by its point and the model: its seed is a hash of the point, so texts depend
// neither on order, batch, threads nor on how the work was cut into shards and runs.
//
//   SweepFile file(env, "out/gptq4.jsonl", grid, about, false);
//   for (int64_t i : file.missing({1, 4}))       // the first of four shards
//     file.add(i, {{"text", ...}, ...});         // in any order
//   if (file.missing().empty()) file.finish();   // sorted: the same bytes however it came about
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/eval/text_statistics.h"

namespace halftone::eval {

struct SweepGrid {
  std::vector<std::string> prompts;
  std::vector<int64_t> lengths = {50, 100, 150, 200, 250, 300, 350, 400, 450, 500};  // new tokens
  std::vector<double> temperatures = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0};
  std::vector<int64_t> top_ks = {1, 5, 10, 20, 50, 100, 200};
  int64_t samples = 1;  // of each cell
  int64_t size() const;
};
// InputError naming the option: an empty list, a value twice or out of range, a prompt twice, more
// than ten million points.
void validate(const SweepGrid& grid);

// Points are counted prompt by prompt, in it length by length, then temperature, top_k, sample.
struct SweepPoint {
  int64_t prompt = 0, length = 0, temperature = 0, top_k = 0, sample = 0;  // places in the grid
};
SweepPoint sweep_point(const SweepGrid& grid, int64_t index);

// XXH3-64 of the JSON text [prompt, length, temperature, top_k, sample], its top bit cleared (so
// that `halftone run --seed` takes it).
uint64_t sweep_seed(const SweepGrid& grid, const SweepPoint& point);

// Ten beginnings of texts of different kinds, for who has none.
std::vector<std::string> default_prompts();

struct SweepShard {
  int64_t number = 1, of = 1;  // number in 1..of; every of-th point
  std::string suffix() const;  // "" for the whole, else ".shard-1-of-4"
};

// Samples of one model as JSON lines: first `about` (what decides a text beside the point), then a
// line a sample. Lines are appended as samples come, and what a kill left half written is cut off.
// The file is locked while the object lives; IoError when another process works on it.
class SweepFile {
 public:
  // Reads what is there. FileError naming file and line when a line is no sample of this grid, or
  // naming what differs when the file is of another model, grid or program. `fresh` forgets it.
  SweepFile(Env& env, std::string path, SweepGrid grid, Json about, bool fresh);

  // Takes over the samples of finished or broken shards beside this file, which are left as they
  // are. Returns how many samples it had not.
  int64_t adopt_shards();

  // Points without a sample, the longest first: a batch is full to its end then.
  std::vector<int64_t> missing(const SweepShard& shard = {}) const;
  const Json& sample(int64_t index) const { return samples_[static_cast<size_t>(index)]; }
  const std::vector<Json>& samples() const { return samples_; }  // by index; null: missing
  const SweepGrid& grid() const { return grid_; }

  // `result` follows index, point and seed in the line.
  void add(int64_t index, const Json& result);
  // Sorts the lines, in one step.
  void finish();

 private:
  uint64_t read(const std::string& path, int64_t& fresh_samples);
  void append(const std::string& line);

  Env& env_;
  std::string path_;
  SweepGrid grid_;
  Json about_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<WriteFile> file_;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
  std::vector<Json> samples_;
  bool sorted_ = false;  // the file holds what finish() would write
};

// Statistics as they stand in a line: empty ratios are null.
Json statistics_json(const TextStatistics& statistics);

}  // namespace halftone::eval
