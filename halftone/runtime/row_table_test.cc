// The same rows from every place a table can live.
#include "halftone/runtime/row_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "halftone/base/env.h"
#include "halftone/base/half.h"
#include "halftone/files/safetensors.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

// A source that cannot be mapped, as on a file system without mmap.
class Unmapped final : public files::TensorSource {
 public:
  explicit Unmapped(std::shared_ptr<const files::TensorSource> inner) : inner_(std::move(inner)) {}
  const std::vector<files::TensorInfo>& tensors() const override { return inner_->tensors(); }
  const files::TensorInfo* find(const std::string& name) const override {
    return inner_->find(name);
  }
  HostTensor read(const std::string& name) const override { return inner_->read(name); }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    return inner_->read_rows(name, begin, end);
  }
  std::span<const std::byte> mapped(const std::string&) const override { return {}; }

 private:
  std::shared_ptr<const files::TensorSource> inner_;
};

TEST(RowTable, MappedHeldAndReadRowByRowAgree) {
  testing::Bench bench;
  const std::string path =
      ::testing::TempDir() + "/halftone_table_" + std::to_string(::getpid()) + ".safetensors";
  const int64_t rows = 1100, width = 1000;  // more than a million elements: too large to hold
  HostTensor f32(DType::f32, {rows, width}), small(DType::f32, {7, 5}), odd(DType::u8, {3});
  for (int64_t i = 0; i < rows * width; ++i)
    f32.as<float>()[static_cast<size_t>(i)] = static_cast<float>(i % 2048) * 0.25f;
  for (int64_t i = 0; i < 35; ++i)
    small.as<float>()[static_cast<size_t>(i)] = static_cast<float>(i);
  const HostTensor f16 = from_f32(f32, DType::f16), bf16 = from_f32(f32, DType::bf16);
  files::write_safetensors(*bench.env, path,
                           {{"a", &f32}, {"b", &f16}, {"c", &bf16}, {"d", &small}, {"odd", &odd}});
  const auto source = files::open_safetensors(path, bench.context);
  const auto unmapped = std::make_shared<Unmapped>(source);
  for (const std::string name : {"a", "b", "c", "d"}) {
    uint64_t mapped = 0, held = 0;
    const auto from_map = table_of(source, name, &mapped, &held),
               from_file = table_of(unmapped, name, &mapped, &held);
    const HostTensor all = to_f32(source->read(name));
    std::vector<float> x(static_cast<size_t>(from_map->width())), y(x.size());
    for (int64_t r = 0; r < from_map->rows(); r += 3) {
      from_map->read(r, x);
      from_file->read(r, y);
      ASSERT_TRUE(std::equal(x.begin(), x.end(), all.as<float>().begin() + r * from_map->width()))
          << name << r;
      ASSERT_EQ(x, y) << name << r;
    }
    EXPECT_EQ(mapped, source->find(name)->stored_bytes) << name;
    EXPECT_EQ(held, name == "d" ? 140u : 0u)
        << name;  // only the small one is kept where it cannot be mapped
  }
  bench.env->remove(path);
}

TEST(RowTable, ReadsATiedHead) {
  std::vector<float> values(50 * 24);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const auto table = table_of(
      std::make_shared<kernel::TiledWeights>(kernel::TiledWeights::from_f32(50, 24, values)));
  std::vector<float> row(24);
  table->read(49, row);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), values.begin() + 49 * 24));
}

}  // namespace
}  // namespace halftone::runtime
