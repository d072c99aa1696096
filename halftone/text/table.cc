#include "halftone/text/table.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <span>

#include "halftone/base/error.h"
#include "halftone_bridge/src/lib.rs.h"
#include "rust/cxx.h"

namespace halftone::text {
namespace {

// What the Rust side reads through. An exception may not pass it, so it waits here.
struct Source {
  std::shared_ptr<const ReadFile> file;
  std::exception_ptr failure;
};

int32_t read_at(const uint8_t* context, uint64_t offset, uint8_t* out, size_t n) noexcept {
  // The table that owns the source is the only caller, and not from two threads at once.
  auto& source = *const_cast<Source*>(reinterpret_cast<const Source*>(context));
  try {
    source.file->read(offset, std::as_writable_bytes(std::span(out, n)));
    return 0;
  } catch (...) {
    source.failure = std::current_exception();
    return 1;
  }
}

}  // namespace

struct TextTable::Impl {
  std::string path;
  uint64_t most_bytes = 0;
  // before the table, which points to it
  std::unique_ptr<Source> source = std::make_unique<Source>();
  std::optional<rust::Box<bridge::TableHandle>> table;

  [[noreturn]] void fail(const rust::Error& e) const {
    if (source->failure) std::rethrow_exception(source->failure);
    const std::string_view what = e.what();
    if (what.starts_with("no column "))
      throw FileError(Code::missing, path, "has " + std::string(what));
    if (what.starts_with("more than ")) throw FileError(Code::limit, path, std::string(what));
    throw FileError(Code::value, path, "not a usable parquet file: " + quote(what));
  }
};

TextTable::TextTable(Env& env, const std::string& path, const std::string& column,
                     const Limits& limits)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->most_bytes = limits.string_bytes * 16;
  impl_->source->file = env.open(path);
  try {
    impl_->table = bridge::table_open(reinterpret_cast<size_t>(&read_at),
                                      reinterpret_cast<size_t>(impl_->source.get()),
                                      impl_->source->file->size(), rust::Str(column));
  } catch (const rust::Error& e) {
    impl_->fail(e);
  }
}
TextTable::TextTable(TextTable&&) noexcept = default;
TextTable::~TextTable() = default;

std::vector<std::string> TextTable::next(int64_t most) {
  try {
    const bridge::Rows rows =
        (*impl_->table)
            ->next_rows(static_cast<size_t>(std::max<int64_t>(most, 1)), impl_->most_bytes);
    std::vector<std::string> out;
    out.reserve(rows.texts.size());
    for (const rust::String& text : rows.texts) out.emplace_back(text);
    return out;
  } catch (const rust::Error& e) {
    impl_->fail(e);
  }
}

std::vector<std::string> read_text_column(Env& env, const std::string& path,
                                          const std::string& column, const Limits& limits) {
  TextTable table(env, path, column, limits);
  std::vector<std::string> out;
  uint64_t bytes = 0;
  for (auto rows = table.next(1024); !rows.empty(); rows = table.next(1024)) {
    for (std::string& row : rows) {
      bytes += row.size();
      out.push_back(std::move(row));
    }
    if (out.size() > limits.array_elements || bytes > limits.json_file_bytes)
      throw FileError(Code::limit, path,
                      "holds more than " + std::to_string(limits.array_elements) + " rows or " +
                          std::to_string(limits.json_file_bytes) + " bytes of text");
  }
  return out;
}

std::function<std::vector<std::string>(const std::string&, const std::string&)> parquet_reader(
    Env& env, const Limits& limits) {
  return [&env, limits](const std::string& path, const std::string& column) {
    return read_text_column(env, path, column, limits);
  };
}

}  // namespace halftone::text
