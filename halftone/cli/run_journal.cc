#include "halftone/cli/run_journal.h"

#include "halftone/base/hash.h"
#include "halftone/base/version.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

constexpr auto kWriteEvery = std::chrono::milliseconds(500);

}  // namespace

std::string files_fingerprint(Env& env, const std::string& model) {
  Hasher hash;
  for (const std::string& path : spec::model_files(env, model))
    if (const auto info = env.stat(path))
      hash.add(path).add(std::to_string(info->size)).add(std::to_string(info->modified_ns));
  return hash.hex();
}

std::string fingerprint(Env& env, const std::string& model, const std::string& settings) {
  return Hasher().add(files_fingerprint(env, model)).add(settings).add(program_commit()).hex();
}

RunJournal::RunJournal(const Context& context, const std::string& model,
                       const std::string& settings, bool fresh)
    : context_(context),
      path_(join_path(join_path(spec::cache_folder(), "eval"),
                      fingerprint(*context.env, model, settings) + ".journal")) {
  if (!context_.env->stat(path_) || !open()) return;
  if (fresh) {
    journal_->cut_after(0);
    return;
  }
  for (const Json& record : journal_->records())
    for (const Json& row : record) known_[row.at(0).get<uint64_t>()] = row.at(1);
  if (!known_.empty())
    context_.info("going on with an earlier run: " + std::to_string(known_.size()) +
                  " results are there already (--fresh forgets them)");
}

RunJournal::~RunJournal() {
  try {
    flush();
  } catch (const std::exception&) {  // an error is on its way already
  }
}

// False, once and for all, where nothing can be kept.
bool RunJournal::open() {
  if (off_ || journal_) return !off_;
  try {
    context_.env->make_directories(parent_path(path_));
    lock_ = context_.env->lock(path_);
    journal_.emplace(*context_.env, path_);
  } catch (const Error& e) {
    off_ = true;
    journal_.reset();
    context_.warn("this run cannot be resumed: " + e.line());
  }
  return !off_;
}

eval::RunMemory RunJournal::memory() {
  return {.find = [this](uint64_t key) -> std::optional<Json> {
            const auto found = known_.find(key);
            return found == known_.end() ? std::nullopt : std::optional(found->second);
          },
          .keep =
              [this](uint64_t key, const Json& value) {
                fresh_.emplace_back(key, value);
                if (std::chrono::steady_clock::now() - last_ >= kWriteEvery) flush();
              }};
}

void RunJournal::flush() {
  last_ = std::chrono::steady_clock::now();
  if (fresh_.empty() || !open()) return;
  Json record = Json::array();
  for (const auto& [key, value] : fresh_) {
    record.push_back({key, value});
    known_[key] = value;
  }
  fresh_.clear();
  try {
    journal_->append(record);
  } catch (const Error& e) {
    off_ = true;
    context_.warn("this run cannot be resumed any more: " + e.line());
  }
}

void RunJournal::remove() {
  fresh_.clear();
  off_ = true;
  journal_.reset();
  if (!lock_) return;
  try {
    context_.env->remove(path_);
  } catch (const Error& e) {
    context_.warn(e.line());
  }
  lock_.reset();
}

eval::RunMemory RunJournals::of(const std::string& model, const std::string& settings) {
  auto& journal = journals_[{model, settings}];
  if (!journal)
    journal = std::make_unique<RunJournal>(context_, model, run_ + " " + settings, fresh_);
  return journal->memory();
}

void RunJournals::remove() {
  for (const auto& [_, journal] : journals_) journal->remove();
}

}  // namespace halftone::cli
