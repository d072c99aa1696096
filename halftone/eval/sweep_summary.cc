#include "halftone/eval/sweep_summary.h"

#include <array>
#include <map>

#include "halftone/eval/bootstrap.h"

namespace halftone::eval {
namespace {

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  Json json() const { return count > 0 ? Json(sum / static_cast<double>(count)) : Json(); }
};

// Samples of one prompt share its subject: an interval over samples would be too narrow.
Json with_interval(const std::vector<Mean>& by_prompt) {
  Mean all;
  for (const Mean& m : by_prompt) {
    all.sum += m.sum;
    all.count += m.count;
  }
  if (all.count == 0) return {{"mean", nullptr}, {"ci95", nullptr}};
  const Interval interval =
      bootstrap(std::ssize(by_prompt), [&](std::span<const double> multiplicity) {
        double sum = 0, count = 0;
        for (size_t i = 0; i < by_prompt.size(); ++i) {
          sum += multiplicity[i] * by_prompt[i].sum;
          count += multiplicity[i] * static_cast<double>(by_prompt[i].count);
        }
        return count > 0 ? sum / count : 0;
      });
  return {{"mean", all.json()}, {"ci95", by_prompt.size() > 1 ? Json(interval) : Json()}};
}

// Means of one measure over one or two coordinates of the grid.
struct Table {
  Table(size_t rows, size_t columns) : cells(rows, std::vector<Mean>(columns)) {}
  std::vector<std::vector<Mean>> cells;
  Json json() const {
    Json out = Json::array();
    for (const auto& row : cells) {
      Json line = Json::array();
      for (const Mean& m : row) line.push_back(m.json());
      out.push_back(std::move(line));
    }
    return out;
  }
};

Json first_column(const Table& table) {
  Json out = Json::array();
  for (const auto& row : table.cells) out.push_back(row[0].json());
  return out;
}

// Greedy texts of one prompt and length are one text, whatever temperature and seed.
Json identical(const SweepGrid& grid, const std::vector<Json>& samples) {
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> groups;
  int64_t count = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const SweepPoint p = sweep_point(grid, static_cast<int64_t>(i));
    if (samples[i].is_null() || grid.top_ks[static_cast<size_t>(p.top_k)] != 1) continue;
    groups[{p.prompt, p.length}].push_back(static_cast<int64_t>(i));
    ++count;
  }
  Json differing = Json::array(), cells = Json::array();
  for (const auto& [key, members] : groups) {
    cells.push_back(
        {{"prompt", key.first}, {"length", grid.lengths[static_cast<size_t>(key.second)]}});
    for (const int64_t i : members)
      if (samples[static_cast<size_t>(i)]["text"] !=
          samples[static_cast<size_t>(members[0])]["text"]) {
        differing.push_back(members[0]);
        break;
      }
  }
  return {
      {"groups", groups.size()}, {"samples", count}, {"differing", differing}, {"cells", cells}};
}

}  // namespace

std::span<const SweepMeasure> sweep_measures() {
  static const std::array<SweepMeasure, 9> measures = {
      {{"duplicates_per_content_word", "duplicates per content word"},
       {"duplicates", "duplicate content words"},
       {"content_words", "content words"},
       {"distinct_1", "distinct-1"},
       {"distinct_2", "distinct-2"},
       {"distinct_3", "distinct-3"},
       {"repetition_rate", "repetition rate"},
       {"prompt_similarity", "similarity to the prompt"},
       {"tokens", "new tokens"}}};
  return measures;
}

Json sweep_summary(const SweepGrid& grid, const std::vector<Json>& samples) {
  const auto temperatures = grid.temperatures.size(), top_ks = grid.top_ks.size(),
             lengths = grid.lengths.size();
  Json out = Json::object(), stops = Json::object();
  int64_t made = 0, clamped = 0, tokens = 0;
  for (const Json& sample : samples) {
    if (sample.is_null()) continue;
    ++made;
    clamped += sample.contains("clamped_to") ? 1 : 0;
    tokens += sample["tokens"].get<int64_t>();
    Json& stop = stops[sample["stop"].get<std::string>()];
    stop = stop.is_null() ? 1 : stop.get<int64_t>() + 1;
  }
  out["samples"] = made;
  out["missing"] = std::ssize(samples) - made;
  out["clamped"] = clamped;
  out["stops"] = stops;
  out["tokens"] = tokens;
  for (const SweepMeasure& measure : sweep_measures()) {
    std::vector<Mean> by_prompt(grid.prompts.size());
    Table temperature(temperatures, 1), top_k(top_ks, 1), length(lengths, 1);
    Table temperature_top_k(temperatures, top_ks), length_temperature(lengths, temperatures),
        length_top_k(lengths, top_ks);
    std::vector<Table> cube(lengths, temperature_top_k);
    int64_t without = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      if (samples[i].is_null()) continue;
      const Json& value = samples[i].at(measure.key);
      if (value.is_null()) {
        ++without;
        continue;
      }
      const auto x = value.get<double>();
      const SweepPoint p = sweep_point(grid, static_cast<int64_t>(i));
      const auto t = static_cast<size_t>(p.temperature), k = static_cast<size_t>(p.top_k),
                 l = static_cast<size_t>(p.length);
      for (Mean* m :
           {&by_prompt[static_cast<size_t>(p.prompt)], &temperature.cells[t][0], &top_k.cells[k][0],
            &length.cells[l][0], &temperature_top_k.cells[t][k], &length_temperature.cells[l][t],
            &length_top_k.cells[l][k], &cube[l].cells[t][k]})
        m->add(x);
    }
    Json& mean = out["mean"][measure.key];
    mean = with_interval(by_prompt);
    mean["samples"] = made - without;
    mean["without"] = without;
    out["by_temperature"][measure.key] = first_column(temperature);
    out["by_top_k"][measure.key] = first_column(top_k);
    out["by_length"][measure.key] = first_column(length);
    out["temperature_top_k"][measure.key] = temperature_top_k.json();
    out["length_temperature"][measure.key] = length_temperature.json();
    out["length_top_k"][measure.key] = length_top_k.json();
    if (&measure == sweep_measures().data())
      for (const Table& of_length : cube)
        out["by_length_temperature_top_k"][measure.key].push_back(of_length.json());
  }
  out["identical"] = identical(grid, samples);
  return out;
}

Json sweep_difference(const SweepGrid& grid, const std::vector<Json>& reference,
                      const std::vector<Json>& model) {
  Json out = Json::object();
  for (const SweepMeasure& measure : sweep_measures()) {
    std::vector<Mean> by_prompt(grid.prompts.size());
    for (size_t i = 0; i < model.size(); ++i) {
      if (reference[i].is_null() || model[i].is_null()) continue;
      const Json &a = reference[i].at(measure.key), &b = model[i].at(measure.key);
      if (a.is_null() || b.is_null()) continue;
      const auto prompt = static_cast<size_t>(sweep_point(grid, static_cast<int64_t>(i)).prompt);
      by_prompt[prompt].add(b.get<double>() - a.get<double>());
    }
    out[measure.key] = with_interval(by_prompt);
  }
  Mean same;
  for (size_t i = 0; i < model.size(); ++i)
    if (!reference[i].is_null() && !model[i].is_null())
      same.add(reference[i]["text"] == model[i]["text"] ? 1 : 0);
  out["same_text"] = same.json();
  return out;
}

}  // namespace halftone::eval
