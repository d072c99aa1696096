// halftone.json: every byte of a folder we wrote is accounted for.
#include "halftone/pack/receipt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/threads.h"
#include "halftone/files/safetensors.h"
#include "halftone/pack/folder.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {
namespace {

using testing::HasSubstr;

const std::string kFixture =
    std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/packed/ct_int4_sym_g16/";

class Receipt : public testing::Test {
 protected:
  Receipt() : env_(posix_env()), pool_(1) {
    context_.env = env_.get();
    context_.pool = &pool_;
    context_.log = [this](Level level, std::string_view text) {
      if (level == Level::warning) warnings_ += text;
    };
    folder_ = testing::TempDir() + "/halftone_receipt_" + std::to_string(::getpid());
    write();
  }
  ~Receipt() override { env_->remove_tree(folder_); }

  // The fixture as we would have written it.
  void write() {
    const auto file = files::open_safetensors(kFixture + "model.safetensors", context_);
    const std::string config = env_->read_text(kFixture + "config.json", 1 << 20);
    FolderContents contents;
    for (const auto& info : file->tensors())
      contents.tensors.push_back(
          {info.name, info.dtype, info.shape,
           [&, name = info.name](const auto& sink) { sink(file->read(name).bytes()); }});
    contents.texts.emplace_back("config.json", config);
    Json body = {{"schema", kReceiptSchema}, {"layers", Json::array()}};
    const auto model = open_model(kFixture, context_);
    for (const auto& [key, format] : model->plan().ports)
      body["layers"].push_back(
          {{"op", key.op}, {"format", format::to_json(format)}, {"error", 0.1 + 0.2}});
    contents.receipt = [&](const TensorHashes& hashes) {
      return std::pair<std::string, std::string>("halftone.json",
                                                 receipt_text(body, hashes, config));
    };
    write_folder(folder_, contents, context_);
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string bytes(const std::string& name) { return env_->read_text(path(name), 1 << 24); }
  void put(const std::string& name, const std::string& text) {
    write_atomically(*env_, path(name), text);
  }

  // Opens the model and reads all of it, as a whole or as `rows` and maps; the error's line.
  std::string failure(bool rows = false) {
    try {
      const auto model = open_model(folder_, context_);
      const auto& tensors = *model->checkpoint().tensors;
      for (const auto& info : tensors.tensors()) {
        if (!rows) {
          tensors.read(info.name);
        } else if (!info.shape.empty() && info.shape[0] > 1) {
          tensors.read_rows(info.name, 1, 2);
        } else {
          tensors.mapped(info.name);
        }
      }
    } catch (const Error& e) {
      EXPECT_EQ(e.exit(), Exit::bad_input) << e.line();
      return e.line();
    }
    return "";
  }

  std::unique_ptr<Env> env_;
  ThreadPool pool_;
  Context context_;
  std::string folder_, warnings_;
};

TEST_F(Receipt, AFolderAsWrittenIsAccepted) {
  EXPECT_EQ(failure(), "");
  EXPECT_EQ(failure(true), "");
  EXPECT_EQ(warnings_, "");
}

TEST_F(Receipt, EveryFlippedByteOfItselfIsFound) {
  const std::string good = bytes("halftone.json");
  const Json meaning = Json::parse(good);
  for (size_t i = 0; i < good.size(); ++i) {
    const int bit = i % 2 == 0 ? 0 : 4;  // neighbouring characters, and other kinds of them
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
    // White space between values has no meaning, and changes none.
    const Json parsed = Json::parse(bad, nullptr, false);
    if (!parsed.is_discarded() && parsed == meaning) continue;
    put("halftone.json", bad);
    EXPECT_THAT(failure(), HasSubstr("halftone.json")) << i << " bit " << bit;
  }
}

TEST_F(Receipt, CutAnywhereItIsRefused) {
  const std::string good = bytes("halftone.json");
  for (size_t size = 0; size + 2 < good.size();
       size += size < 64 ? 1 : 5) {  // every kind of place comes again
    put("halftone.json", good.substr(0, size));
    EXPECT_THAT(failure(), HasSubstr("halftone.json")) << size;
  }
}

TEST_F(Receipt, EveryFlippedByteOfATensorIsFound) {
  const std::string good = bytes("model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, good.data(), 8);
  // One byte of each tensor at its begin, middle and end finds every boundary; all bytes of a
  // tensor are alike to a hash.
  const auto file = files::open_safetensors(path("model.safetensors"), context_);
  const auto parsed = files::parse_safetensors_header(
      std::as_bytes(std::span(good)).first(8 + header), good.size(), "x", context_.limits);
  for (const auto& entry : parsed.entries)
    for (const uint64_t at : {entry.begin, (entry.begin + entry.end) / 2, entry.end - 1}) {
      std::string bad = good;
      bad[8 + header + at] = static_cast<char>(bad[8 + header + at] ^ 1);
      put("model.safetensors", bad);
      for (const bool rows : {false, true})
        EXPECT_THAT(failure(rows), testing::AllOf(HasSubstr("E_MISMATCH"), HasSubstr(entry.name)))
            << entry.name << " " << at;
    }
}

// A table larger than what is hashed at a time, whose rows are read one by one.
class OneTable final : public files::TensorSource {
 public:
  explicit OneTable(bool mapped) : mapped_(mapped), values_(DType::f32, {3000, 1000}) {
    infos_ = {{.name = "table", .dtype = DType::f32, .shape = values_.shape()}};
  }
  const std::vector<files::TensorInfo>& tensors() const override { return infos_; }
  const files::TensorInfo* find(const std::string&) const override { return &infos_[0]; }
  HostTensor read(const std::string& name) const override { return read_rows(name, 0, 3000); }
  HostTensor read_rows(const std::string&, int64_t begin, int64_t end) const override {
    HostTensor out(DType::f32, {end - begin, 1000});
    std::copy_n(values_.as<float>().begin() + begin * 1000, (end - begin) * 1000,
                out.as<float>().begin());
    return out;
  }
  std::span<const std::byte> mapped(const std::string&) const override {
    return mapped_ ? values_.bytes() : std::span<const std::byte>();
  }
  void damage() { values_.as<float>().back() = 1; }

 private:
  bool mapped_;
  HostTensor values_;
  std::vector<files::TensorInfo> infos_;
};

TEST(Verified, ATableReadByRowsIsComparedWholeAndOnce) {
  for (const bool mapped : {false, true}) {
    const auto table = std::make_shared<OneTable>(mapped);
    const std::string hash = Hasher().add(table->read("table").bytes()).hex();
    const auto good = verified(table, {{"table", hash}}, "folder");
    EXPECT_EQ(good->read_rows("table", 7, 8).dim(0), 1);
    table->damage();
    EXPECT_EQ(good->read_rows("table", 7, 8).dim(0), 1);  // compared already
    const auto bad = verified(table, {{"table", hash}}, "folder");
    EXPECT_THROW(bad->read_rows("table", 7, 8), FileError);
    EXPECT_THROW(bad->mapped("table"), FileError);
    EXPECT_THROW(bad->read("table"), FileError);
  }
}

TEST_F(Receipt, AVersionOfTheFutureAndContradictionsAreRefused) {
  Json json = Json::parse(bytes("halftone.json"));
  const std::string config = bytes("config.json");
  json.erase("hash");
  const TensorHashes hashes = json.at("tensors").get<TensorHashes>();
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json body = {{"schema", json.at("schema")}, {"layers", json.at("layers")}};
    change(body);
    put("halftone.json", receipt_text(body, hashes, config));
    return failure();
  };
  EXPECT_EQ(with([](Json&) {}), "");
  EXPECT_THAT(with([](Json& j) { j["schema"] = 2; }),
              testing::AllOf(HasSubstr("E_VERSION"), HasSubstr("newer halftone (schema 2")));
  EXPECT_THAT(with([](Json& j) { j["schema"] = "1"; }), HasSubstr("halftone.json"));
  EXPECT_THAT(with([](Json& j) { j["layers"].erase(0); }), HasSubstr("config.json quantizes"));
  EXPECT_THAT(with([](Json& j) { j["layers"][0]["op"] = "nonsense"; }),
              HasSubstr("\"nonsense\" is not quantized"));
  EXPECT_THAT(with([](Json& j) { j["layers"][0]["format"]["bits"] = 7; }),
              HasSubstr("has another format"));
  TensorHashes other = hashes;
  other["more"] = "0";
  Json body = {{"schema", json.at("schema")}, {"layers", json.at("layers")}};
  put("halftone.json", receipt_text(body, other, config));
  EXPECT_THAT(failure(), HasSubstr("has no tensor \"more\""));
  other = hashes;
  other.erase(other.begin());
  put("halftone.json", receipt_text(body, other, config));
  EXPECT_THAT(failure(), HasSubstr("which halftone.json does not list"));
  EXPECT_THAT(with([](Json& j) { j.erase("layers"); }), HasSubstr("a key is missing"));
  put("halftone.json", "[]");
  EXPECT_THAT(failure(), HasSubstr("not an object"));
}

TEST_F(Receipt, WithoutItNothingIsCompared) {
  std::string bad = bytes("model.safetensors");
  bad.back() = static_cast<char>(bad.back() ^ 1);
  put("model.safetensors", bad);
  EXPECT_NE(failure(), "");
  env_->remove_tree(path("halftone.json"));
  EXPECT_EQ(failure(), "");
}

TEST_F(Receipt, AChangedConfigIsAWarning) {
  put("config.json", bytes("config.json") + "\n");
  EXPECT_EQ(failure(), "");
  EXPECT_THAT(warnings_, HasSubstr("config.json: was changed"));
}

}  // namespace
}  // namespace halftone::pack
