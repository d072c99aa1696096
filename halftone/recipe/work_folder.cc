#include "halftone/recipe/work_folder.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/files/safetensors.h"
#include "halftone/recipe/block_run.h"

namespace halftone::recipe {
namespace {

constexpr int64_t kSchema = 1;

std::string hash_of_file(Env& env, const std::string& path, uint64_t& size) {
  const auto file = env.open(path);
  size = file->size();
  Hasher hasher;
  std::vector<std::byte> chunk(static_cast<size_t>(std::min<uint64_t>(size, 4 << 20)));
  for (uint64_t at = 0; at < size;) {
    const auto part =
        std::span(chunk).first(static_cast<size_t>(std::min<uint64_t>(chunk.size(), size - at)));
    file->read(at, part);
    hasher.add(std::span<const std::byte>(part));
    at += part.size();
  }
  return hasher.hex();
}

// The only names that are ever removed: somebody else's files may lie in a folder that happens to
// be called like ours.
bool is_ours(const std::string& name) {
  return name == "lock" || name == "run.json" || name == "run.json.tmp" || name == "journal" ||
         name == "out" || name.starts_with("layer-") || name.starts_with("activations-");
}

// A journal is input like any other file, however unlikely a record with a good checksum and
// strange contents is: another version of this program may have written it.
bool is_block_record(const Json& record) {
  const auto text = [&](const char* key) {
    return record.contains(key) && record[key].is_string();
  };
  const auto number = [&](const char* key) {
    return record.contains(key) && record[key].is_number_unsigned();
  };
  if (!text("file") || !text("hash") || !number("size") || !number("unit")) return false;
  if (record.contains("hidden") && !text("hidden")) return false;
  if (!record.contains("layers") || !record["layers"].is_array()) return false;
  try {
    for (const Json& layer : record["layers"]) layer_report_from(layer);
  } catch (const Error&) {
    return false;
  }
  return true;
}

void collect(const Json& a, const Json& b, const std::string& name, std::vector<std::string>& out) {
  if (a == b) return;
  if (!a.is_object() || !b.is_object()) {
    out.push_back(name);
    return;
  }
  std::set<std::string> keys;
  for (const auto& [key, value] : a.items()) keys.insert(key);
  for (const auto& [key, value] : b.items()) keys.insert(key);
  for (const std::string& key : keys)
    collect(a.contains(key) ? a[key] : Json(), b.contains(key) ? b[key] : Json(),
            name.empty() ? key : name + "." + key, out);
}

}  // namespace

std::vector<std::string> differing_fields(const Json& a, const Json& b, size_t limit) {
  std::vector<std::string> out;
  collect(a, b, "", out);
  if (out.size() > limit) {
    const size_t more = out.size() - limit;
    out.resize(limit);
    out.push_back("and " + std::to_string(more) + " more");
  }
  return out;
}

WorkFolder::WorkFolder(const Context& context, const std::string& output)
    : context_(context), env_(*context.env), path_(output + ".work") {
  for (int tries = 0; !lock_; ++tries) {
    created_ = !env_.stat(path_);
    env_.make_directories(path_);
    const std::string file = join_path(path_, "lock");
    try {
      lock_ = env_.lock(file);
    } catch (const IoError&) {
      if (tries == 3 || env_.stat(path_)) throw;
      continue;  // the run that held it has just finished and taken the folder with it
    }
    if (!env_.stat(file)) lock_.reset();  // locked a name that was removed in between
    if (!lock_ && tries == 3) throw FileError(Code::missing, file, "the lock vanished");
  }
}

WorkFolder::~WorkFolder() {
  if (begun_ || !created_) return;
  try {
    env_.remove_tree(path_);
  } catch (const Error&) {  // an error is on its way already, and an empty work folder harms nobody
  }
}

void WorkFolder::begin(const Json& fingerprint, bool force) {
  const std::string run = join_path(path_, "run.json");
  bool fresh = !env_.stat(run);
  if (!fresh) {
    Json before;
    try {
      before = parse_json(env_.read_text(run, context_.limits.json_file_bytes), run);
    } catch (const FileError& e) {
      if (!force) throw FileError(e.code(), run, e.fact(), {}, "--force starts over");
    }
    if (!force && before.is_object() && before.contains("schema") &&
        before["schema"].is_number_integer() && before["schema"] > kSchema)
      throw FileError(Code::version, run,
                      "was written by a newer halftone (schema " + before["schema"].dump() +
                          ", this one knows " + std::to_string(kSchema) + ")",
                      {}, "finish the run with that version, or --force to start over");
    const Json now = {{"schema", kSchema}, {"fingerprint", fingerprint}};
    if (before != now) {
      if (!force) {
        const std::string fields =
            listed(differing_fields(before.is_object() && before.contains("fingerprint")
                                        ? before["fingerprint"]
                                        : Json(),
                                    fingerprint),
                   [](const std::string& field) { return field.empty() ? "everything" : field; });
        throw FileError(
            Code::mismatch, path_,
            "holds an unfinished run with other inputs (they differ in: " + fields + ")", {},
            "run it as before to finish it, or --force to start over");
      }
      fresh = true;
    }
  }
  for (const std::string& name : env_.list(path_))
    if (!is_ours(name))
      throw InputError(path_, "is not a work folder: it holds " + quote(name),
                       "move it away, or give another -o");
  begun_ = true;
  if (fresh) {
    // run.json goes first: without it the rest counts for nothing, wherever this is interrupted.
    env_.remove(run);
    env_.sync_directory(path_);
    for (const std::string& name : env_.list(path_))
      if (name != "lock") env_.remove_tree(join_path(path_, name));
    write_atomically(env_, run,
                     Json{{"schema", kSchema}, {"fingerprint", fingerprint}}.dump(2) + "\n");
    env_.sync_directory(parent_path(path_));
  }
  journal_ = std::make_unique<Journal>(env_, join_path(path_, "journal"));
  read_records();
}

bool WorkFolder::part_is_whole(const Json& record) const {
  const std::string path = join_path(path_, record["file"].get<std::string>());
  const auto info = env_.stat(path);
  if (!info || !info->is_regular || info->size != record["size"].get<uint64_t>()) return false;
  uint64_t size = 0;
  return hash_of_file(env_, path, size) == record["hash"].get<std::string>();
}

void WorkFolder::read_records() {
  size_t good = 0;
  for (const Json& record : journal_->records()) {
    if (!record.is_object() || !record.contains("kind") || !record["kind"].is_string()) break;
    const auto kind = record["kind"].get<std::string>();
    const auto unit = static_cast<int64_t>(finished_.size());
    if (kind == "assembled") {
      assembled_ = record;
    } else if (kind == "block" && is_block_record(record) && record["unit"] == unit &&
               record["file"] == file_name(part_path(unit)) && part_is_whole(record)) {
      finished_.push_back(record);
    } else {
      break;
    }
    ++good;
  }
  if (good < journal_->records().size()) {
    context_.warn("the work folder is damaged from part " + std::to_string(finished_.size()) +
                  " on: going on from there");
    journal_->cut_after(good);
  }
  std::set<std::string> known = {"lock", "run.json", "journal"};
  if (assembled()) known.insert("out");
  for (const Json& record : finished_) known.insert(record["file"].get<std::string>());
  for (const std::string& name : env_.list(path_))
    if (!known.contains(name)) env_.remove_tree(join_path(path_, name));
}

std::string WorkFolder::part_path(int64_t unit) const {
  char name[48];
  std::snprintf(name, sizeof(name), "layer-%04lld.safetensors", static_cast<long long>(unit));
  return join_path(path_, name);
}

void WorkFolder::add_part(int64_t unit,
                          const std::vector<std::pair<std::string, HostTensor>>& tensors,
                          Json record) {
  check(unit == static_cast<int64_t>(finished_.size()), "parts come in order");
  const std::string path = part_path(unit), temporary = path + ".tmp";
  std::vector<std::pair<std::string, const HostTensor*>> views;
  for (const auto& [name, tensor] : tensors) views.emplace_back(name, &tensor);
  files::write_safetensors(env_, temporary, views);
  uint64_t size = 0;
  const std::string hash = hash_of_file(env_, temporary, size);
  env_.rename(temporary, path);
  env_.sync_directory(path_);
  record["kind"] = "block";
  record["unit"] = unit;
  record["file"] = file_name(path);
  record["size"] = size;
  record["hash"] = hash;
  journal_->append(record);
  finished_.push_back(std::move(record));
}

void WorkFolder::record_assembled(const std::string& hash) {
  Json record = {{"kind", "assembled"}, {"hash", hash}};
  journal_->append(record);
  assembled_ = std::move(record);
}

void WorkFolder::remove_temporaries() {
  if (!begun_) return;
  if (!assembled()) env_.remove_tree(staging());
  for (const std::string& name : env_.list(path_))
    if (name.ends_with(".tmp") || name.starts_with("activations-"))
      env_.remove(join_path(path_, name));
}

void WorkFolder::remove() {
  env_.remove_tree(path_);
  env_.sync_directory(parent_path(path_));
}

}  // namespace halftone::recipe
