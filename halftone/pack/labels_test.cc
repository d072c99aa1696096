#include "halftone/pack/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/base/threads.h"
#include "halftone/pack/compression.h"
#include "halftone/pack/test_wrapped.h"

namespace halftone::pack {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Labels, NamesClaimBits) {
  for (const auto& [name, bits] : std::vector<std::pair<const char*, std::optional<int64_t>>>{
           {"out/gptq4", 4},
           {"out/rtn_int8_g64/", 8},
           {"org/Llama-3-8B-Instruct-AWQ-4bit", 4},
           {"model.Q4_K_M.gguf", 4},
           {"IQ3_XXS", 3},
           {"x-W8A8", 8},
           {"w4a16", 4},
           {"m-2-bits", 2},
           {"4bit/model", std::nullopt},  // the last part counts
           {"Llama-3-8B", std::nullopt},
           {"smollm2-135m", std::nullopt},
           {"qwen2", std::nullopt},
           {"mxfp4", std::nullopt},
           {"", std::nullopt}})
    EXPECT_EQ(claimed_bits(name), bits) << name;
}

class FilesThatSay : public ::testing::Test {
 protected:
  FilesThatSay() {
    context_.env = env_.get();
    context_.pool = &pool_;
  }
  // A fixture that says other things of itself.
  class Other final : public testing::Wrapped {
   public:
    Other(std::shared_ptr<const PackedModel> model, const std::string& path, const Json& config)
        : Wrapped(std::move(model)), checkpoint_(Wrapped::checkpoint()) {
      checkpoint_.path = checkpoint_.name = path;
      if (!config.is_null()) checkpoint_.config["quantization_config"] = config;
    }
    const spec::Checkpoint& checkpoint() const override { return checkpoint_; }

   private:
    spec::Checkpoint checkpoint_;
  };
  std::vector<Finding> findings(const std::string& fixture, const std::string& path,
                                const Json& config = {}) {
    const Other model(
        open_model(std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/" + fixture, context_), path,
        config);
    return label_findings(model);
  }
  std::unique_ptr<Env> env_ = posix_env();
  ThreadPool pool_{1};
  Context context_;
};

TEST_F(FilesThatSay, TooFewOrTooManyBitsAreFound) {
  EXPECT_THAT(findings("packed/ct_int8_w8a8", "m"), IsEmpty());
  EXPECT_THAT(findings("packed/ct_int8_w8a8", "m-8bit"), IsEmpty());
  for (const char* name : {"m-4bit", "m-q2"}) {
    const auto found = findings("packed/ct_int8_w8a8", name);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, "label");
    EXPECT_EQ(found[0].level, Finding::Level::warning);
    EXPECT_THAT(found[0].text, HasSubstr(" bits, its linears take "));
    EXPECT_THAT(found[0].text, HasSubstr(" bits a weight (int8"));
  }
  EXPECT_EQ(findings("packed/ct_int4_sym_g16", "m-int8").size(), 1u);
}

TEST_F(FilesThatSay, AQuantizedModelOfDenseWeightsIsFound) {
  const auto found = findings("models/llama_mha_tied", "m", {{"quant_method", "awq"}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Finding::Level::fault);
  EXPECT_EQ(found[0].text, "config.json says it is quantized (awq), no linear is");
}

TEST_F(FilesThatSay, OtherBitsThanTheConfigsAreFound) {
  EXPECT_THAT(findings("packed/gptq_v1_b4_sym_g16", "m", {{"bits", 4}}), IsEmpty());
  const auto found = findings("packed/gptq_v1_b4_sym_g16", "m", {{"bits", 8}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Finding::Level::note);
  EXPECT_THAT(found[0].text, HasSubstr("config.json says 8 bits, "));
}

// llama_mixed32.gguf says Q4_0, and every linear of it is of another type.
TEST_F(FilesThatSay, AFileTypeThatMostWeightsAreNotIsFound) {
  EXPECT_THAT(findings("gguf/llama_f16.gguf", "m"), IsEmpty());
  const auto found = findings("gguf/llama_mixed32.gguf", "m");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].text, HasSubstr("general.file_type says Q4_0, most weights are "));
}

TEST_F(FilesThatSay, BitsOfLinearsCountScalesAndZeros) {
  const auto model = open_model(
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/packed/ct_int4_sym_g16", context_);
  for (const LinearStorage& linear : linear_storage(*model)) {
    if (linear.role == spec::Role::head) continue;
    EXPECT_EQ(linear.code_bits, 4) << linear.op->name;
    EXPECT_EQ(linear.kind, "int4_g16") << linear.op->name;
  }
  const double bits = compression(*model).linears;
  EXPECT_GT(bits, 5);  // a scale of 16 bits for 16 weights, and the shapes
  EXPECT_LT(bits, 6.5);
}

}  // namespace
}  // namespace halftone::pack
