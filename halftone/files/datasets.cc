#include "halftone/files/datasets.h"

#include <algorithm>
#include <span>

#include "halftone/base/error.h"
#include "halftone/files/documents.h"
#include "halftone/files/hub_cache.h"
#include "halftone/files/recognise.h"

namespace halftone::files {
namespace {

enum class Shape : uint8_t { wikitext_lines, lines, jsonl };

struct Known {
  std::string_view name;
  Split split;
  std::string_view path;  // below the data folder
  Shape shape;
  std::string_view joint;
  bool partial;
  std::string_view hub_set;   // repository in the hub cache
  std::string_view hub_file;  // below its snapshot; "" when the hub's file is not read
  std::string_view column;
  // Set where the file is another split of the set, taken for want of this one.
  std::string_view stands_in = "", caution = "";
};

// ptb: rows are sentences with the leading and trailing space trimmed by the hub's set; joints as
// the scripts use them. The hub keeps C4 as .json.gz and PTB as a script, neither of which is read:
// both come from the data folder only.
constexpr Known kKnown[] = {
    {"wikitext2", Split::test, "wikitext2/test.txt", Shape::wikitext_lines, "\n\n", false,
     "Salesforce/wikitext", "wikitext-2-raw-v1/test-00000-of-00001.parquet", "text"},
    {"wikitext2", Split::validation, "wikitext2/valid.txt", Shape::wikitext_lines, "\n\n", false,
     "Salesforce/wikitext", "wikitext-2-raw-v1/validation-00000-of-00001.parquet", "text"},
    {"wikitext2", Split::train, "wikitext2/train_first_1MB.txt", Shape::wikitext_lines, "\n\n",
     true, "Salesforce/wikitext", "wikitext-2-raw-v1/train-00000-of-00001.parquet", "text"},
    {"ptb", Split::test, "ptb/ptb.test.txt", Shape::lines, " ", false, "", "", ""},
    {"ptb", Split::validation, "ptb/ptb.valid.txt", Shape::lines, "\n\n", false, "", "", ""},
    {"ptb", Split::train, "ptb/ptb.train.txt", Shape::lines, "\n\n", false, "", "", ""},
    {"ptb", Split::train, "ptb/ptb.valid.txt", Shape::lines, "\n\n", true, "", "", "",
     "ptb validation (no train part at hand)",
     "there is no ptb/ptb.train.txt in the data folder: its validation text is taken, which is "
     "also what the task ptb scores; measure the result on another set"},
    {"c4", Split::train, "c4/c4_demo.jsonl", Shape::jsonl, " ", true, "", "", ""},
    {"c4", Split::validation, "c4/c4_fragments.jsonl", Shape::jsonl, " ", true, "", "", ""},
};

void add_jsonl(TextSet& set, std::string_view text, const Limits& limits) {
  const Documents documents = parse_jsonl(text, set.path, limits);
  for (const Document& row : documents.rows) set.rows.push_back(row.text("text"));
  set.blank_lines = documents.blank_lines;
}

void add_rows(TextSet& set, Shape shape, std::string_view text, const Limits& limits) {
  if (shape == Shape::jsonl) return add_jsonl(set, text, limits);
  for (std::string_view line : split_lines(text)) {
    if (shape == Shape::wikitext_lines) {
      set.rows.push_back(blank(line) ? "" : std::string(line) + "\n");
    } else {
      while (!line.empty() && (line.front() == ' ')) line.remove_prefix(1);
      while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
      set.rows.emplace_back(line);
    }
  }
}

std::optional<std::string> in_hub_cache(Env& env, const Known& known, const std::string& hub) {
  if (known.hub_file.empty() || hub.empty()) return std::nullopt;
  HubSettings settings;
  settings.cache = hub;
  const auto snapshot = cached_snapshot(
      {.kind = HubRepo::Kind::dataset, .name = std::string(known.hub_set)}, settings, env);
  if (!snapshot) return std::nullopt;
  const std::string path = join_path(*snapshot, known.hub_file);
  return env.stat(path) ? std::optional(path) : std::nullopt;
}

}  // namespace

std::string_view split_name(Split split) {
  return split == Split::train ? "train" : split == Split::validation ? "validation" : "test";
}

std::string TextSet::joined() const {
  std::string out;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i) out += joint;
    out += rows[i];
  }
  return out;
}

DataPlaces default_data_places(Env& env) {
  DataPlaces places;
  places.data_dir = process_environment("HALFTONE_DATA").value_or("");
  if (places.data_dir.empty() && env.stat("../shared/data")) places.data_dir = "../shared/data";
  places.hub_cache = hub_cache_folder();
  return places;
}

std::vector<std::string> text_set_names() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

namespace {

struct Place {
  const Known* known;
  std::string path;
  bool hub;
};

std::optional<Place> place_of(Env& env, const std::string& name, Split split,
                              const DataPlaces& places) {
  const auto names = text_set_names();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    std::string all;
    for (const auto& n : names) all += (all.empty() ? "" : ", ") + n;
    throw InputError("data", "unknown text set " + quote(name),
                     "known: " + all + ", or the path of a .txt, .jsonl or .parquet file");
  }
  for (const Known& known : kKnown) {
    if (known.name != name || known.split != split) continue;
    // The whole split of the hub is better than a part of it here.
    const auto hub = places.parquet ? in_hub_cache(env, known, places.hub_cache) : std::nullopt;
    const std::string path = places.data_dir.empty() ? "" : join_path(places.data_dir, known.path);
    const bool here = !path.empty() && env.stat(path);
    if (hub && (known.partial || !here)) return Place{&known, *hub, true};
    if (here) return Place{&known, path, false};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> text_set_path(Env& env, const std::string& name, Split split,
                                         const DataPlaces& places) {
  const auto place = place_of(env, name, split, places);
  return place ? std::optional(place->path) : std::nullopt;
}

std::string text_set_sought(const std::string& name, Split split, const DataPlaces& places) {
  std::string paths, hub;
  for (const Known& known : kKnown) {
    if (known.name != name || known.split != split) continue;
    paths += (paths.empty() ? "" : " or ") + std::string(known.path);
    hub = known.hub_set;
  }
  if (paths.empty()) return {};
  return "looked for as " + paths + " in the data folder (HALFTONE_DATA" +
         (places.data_dir.empty() ? ", not set)" : ": " + places.data_dir + ")") +
         (hub.empty() ? "; the hub cache is not read for " + name
                      : " and as " + hub + " in the hub cache");
}

std::optional<TextSet> find_text_set(Env& env, const std::string& name, Split split,
                                     const DataPlaces& places, const Limits& limits) {
  const auto place = place_of(env, name, split, places);
  if (!place) return std::nullopt;
  TextSet set;
  set.path = place->path;
  set.joint = place->known->joint;
  set.label = name + (place->known->partial && !place->hub ? "-partial " : " ") +
              std::string(split_name(split));
  if (!place->known->stands_in.empty()) set.label = place->known->stands_in;
  set.caution = place->known->caution;
  if (place->hub) {
    set.rows = places.parquet(place->path, std::string(place->known->column));
    return set;
  }
  const std::string text = read_text_of(env, place->path);
  if (text.empty())
    throw FileError(Code::value, place->path, "holds no text", {}, "give a file with text in it");
  add_rows(set, place->known->shape, text, limits);
  return set;
}

TextSet read_text_file(Env& env, const std::string& path, const ParquetReader& parquet,
                       const Limits& limits) {
  TextSet set;
  set.label = file_name(path);
  set.path = path;
  set.joint = "\n\n";
  if (path.ends_with(".parquet")) {
    if (!parquet) throw UnsupportedError(path, "this program was built without the parquet reader");
    const auto file = env.open(path);
    std::vector<std::byte> head(
        static_cast<size_t>(std::min<uint64_t>(file->size(), kRecogniseBytes)));
    file->read(0, head);
    refuse_usual_mistakes(head, path, "parquet");
    set.rows = parquet(path, "text");
    if (set.rows.empty())
      throw FileError(Code::value, path, "holds no text", {}, "give a file with text in it");
    return set;
  }
  const std::string text = read_text_of(env, path);
  if (path.ends_with(".jsonl")) {
    add_jsonl(set, text, limits);
  } else {
    set.rows = {text};
  }
  if (text.empty() || set.rows.empty())
    throw FileError(Code::value, path, "holds no text", {}, "give a file with text in it");
  return set;
}

}  // namespace halftone::files
