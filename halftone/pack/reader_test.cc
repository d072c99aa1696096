// Folders that other packages packed, and folders that contradict themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <set>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/files/safetensors.h"
#include "halftone/pack/bits.h"
#include "halftone/pack/module_match.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {
namespace {

const std::string kFixtures = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/packed/";

class Packed : public ::testing::Test {
 protected:
  Packed() : env_(posix_env()), pool_(1) {
    context_.env = env_.get();
    context_.pool = &pool_;
    context_.log = [this](Level level, std::string_view text) { log_.emplace_back(level, text); };
    folder_ = ::testing::TempDir() + "/halftone_pack_" + std::to_string(::getpid());
    env_->remove_tree(folder_);
  }
  ~Packed() override { env_->remove_tree(folder_); }

  using Tensors = std::map<std::string, HostTensor>;
  // A copy of a fixture with changes; returns the folder.
  std::string changed(const std::string& name, const std::function<void(Json&, Tensors&)>& change) {
    Json config =
        parse_json(env_->read_text(kFixtures + name + "/config.json", 1 << 20), "config.json");
    const auto file = files::open_safetensors(kFixtures + name + "/model.safetensors", context_);
    Tensors tensors;
    for (const auto& info : file->tensors()) tensors.emplace(info.name, file->read(info.name));
    change(config, tensors);
    env_->remove_tree(folder_);
    env_->make_directories(folder_);
    write_atomically(*env_, folder_ + "/config.json", config.dump());
    std::vector<std::pair<std::string, const HostTensor*>> list;
    for (const auto& [tensor, value] : tensors) list.emplace_back(tensor, &value);
    files::write_safetensors(*env_, folder_ + "/model.safetensors", list);
    return folder_;
  }

  // Opens and reads every linear; the error's line with the folder taken out.
  std::string failure(const std::string& path) {
    std::string line = "accepted";
    try {
      const auto model = open_model(path, context_);
      for (const auto& ref : spec::linears(model->checkpoint().spec)) model->linear(*ref.op);
    } catch (const Error& e) {
      line = e.line();
    }
    for (size_t at = line.find(folder_ + "/"); at != std::string::npos;
         at = line.find(folder_ + "/"))
      line.erase(at, folder_.size() + 1);
    return line;
  }
  std::string failure(const std::string& name, const std::function<void(Json&, Tensors&)>& change) {
    return failure(changed(name, change));
  }

  std::unique_ptr<Env> env_;
  ThreadPool pool_;
  Context context_;
  std::vector<std::pair<Level, std::string>> log_;
  std::string folder_;
};

const std::string kQ = "model.layers.0.self_attn.q_proj";

class EveryFolder : public Packed, public ::testing::WithParamInterface<std::string> {};

TEST_P(EveryFolder, HoldsExactlyTheWeightsThatPythonDequantizes) {
  const std::string name = GetParam();
  const auto model = open_model(kFixtures + name, context_);
  const std::string reference = kFixtures +
                                (name == "ct_int3_sym_g16_padded" ? "ct_int3_sym_g16" : name) +
                                ".dequantized.safetensors";
  const auto wanted = files::open_safetensors(reference, context_);
  int64_t quantized = 0;
  for (const auto& ref : spec::linears(model->checkpoint().spec)) {
    const DecoratedLinear linear = model->linear(*ref.op);
    const HostTensor expected = to_f32(wanted->read(ref.linear().weight.name));
    const Matrix<float> got = effective_weight(linear);
    ASSERT_EQ(got.data.size(), static_cast<size_t>(expected.count())) << ref.op->name;
    EXPECT_TRUE(std::equal(got.data.begin(), got.data.end(), expected.as<float>().begin()))
        << ref.op->name;
    const auto* format = model->plan().find(ref.op->name, format::Port::weight);
    EXPECT_EQ(format != nullptr, linear.quantized()) << ref.op->name;
    if (linear.quantized()) {
      EXPECT_EQ(linear.codes().format.label(), format->label());
      ++quantized;
    }
  }
  EXPECT_EQ(quantized, name == "ct_mixed" ? 6 : 7);
  for (const auto& ref : spec::tensors(model->checkpoint().spec)) {
    if (ref.shape.size() > 1 && !ref.name.ends_with("embed_tokens.weight")) continue;
    const HostTensor got = to_f32(model->tensor(ref)), expected = to_f32(wanted->read(ref.name));
    EXPECT_TRUE(std::ranges::equal(got.as<float>(), expected.as<float>())) << ref.name;
  }
  for (const auto& [level, text] : log_) EXPECT_NE(level, Level::warning) << text;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EveryFolder,
                         ::testing::Values("ct_int4_sym_g16", "ct_int4_asym_g16", "ct_int3_sym_g16",
                                           "ct_int3_sym_g16_padded", "ct_int3_asym_channel",
                                           "ct_int2_sym_g16", "ct_int8_w8a8", "ct_mixed",
                                           "gptq_v1_b4_sym_g16", "gptq_v1_b4_asym_g16_act",
                                           "gptq_v1_b3_asym_g32", "gptq_v2_b2_asym_g16",
                                           "gptq_v2_b3_sym_row", "gptq_v2_b8_asym_g32_act"),
                         [](const auto& test) { return test.param; });

TEST_F(Packed, TrueBitsCountEveryTensorOnDisk) {
  const auto model = open_model(kFixtures + "ct_int4_sym_g16", context_);
  uint64_t bytes = 0;
  for (const auto& t : model->checkpoint().tensors->tensors()) bytes += t.stored_bytes;
  EXPECT_EQ(model->weight_bytes(), bytes);
  EXPECT_DOUBLE_EQ(model->bits_per_weight(),
                   8.0 * static_cast<double>(bytes) /
                       static_cast<double>(spec::parameter_count(model->checkpoint().spec)));
}

TEST_F(Packed, ActivationsThatAreNotAppliedAreLabelled) {
  const auto model = open_model(kFixtures + "ct_int8_w8a8", context_);
  ASSERT_NE(model->plan().find(kQ, format::Port::input), nullptr);
  EXPECT_EQ(model->plan().find(kQ, format::Port::input)->bits, 8);
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_THAT(log_[0].second, ::testing::HasSubstr("made for int8 activations"));
}

TEST_F(Packed, AWrongGptqLabelIsFoundAndReported) {
  const auto swapped = changed("gptq_v1_b4_sym_g16", [](Json& c, Tensors&) {
    c["quantization_config"]["checkpoint_format"] = "gptq_v2";
    c["quantization_config"]["format"] = "gptq_v2";
  });
  const auto wrong = open_model(swapped, context_),
             right = open_model(kFixtures + "gptq_v1_b4_sym_g16", context_);
  const auto* op = spec::find_op(right->checkpoint().spec, kQ);
  EXPECT_EQ(wrong->linear(*op).codes(), right->linear(*op).codes());
  ASSERT_FALSE(log_.empty());
  EXPECT_EQ(log_[0].second,
            swapped + ": labelled gptq_v2, but its zero-points are those of gptq; read as gptq");
}

TEST_F(Packed, AZeroPointOfZeroInVersionOneWraps) {
  const auto folder = changed("gptq_v1_b4_asym_g16_act", [](Json&, Tensors& t) {
    auto words = t.at(kQ + ".qzeros").as<uint32_t>();
    words[0] |= 0xfu;  // group 0, row 0: all ones
  });
  const auto model = open_model(folder, context_);
  EXPECT_EQ(model->linear(*spec::find_op(model->checkpoint().spec, kQ)).codes().zero(0, 0), 0);
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_THAT(log_[0].second, ::testing::HasSubstr("zero-points of 0 stored as all ones"));
}

TEST_F(Packed, TheOlderSideFileOfGptqIsReadWhenConfigHasNothing) {
  const auto folder =
      changed("gptq_v1_b4_sym_g16", [](Json& c, Tensors&) { c.erase("quantization_config"); });
  write_atomically(*env_, folder + "/quantize_config.json",
                   R"({"bits": 4, "group_size": 16, "desc_act": false, "sym": true})");
  EXPECT_EQ(failure(folder), "accepted");
}

TEST_F(Packed, OurOwnLayoutHoldsShortGroupsScatteredGroupsAndInputScales) {
  // 32 columns in groups of 24: 24 and 8, scattered; every input times 2; a bias that the spec does
  // not have.
  const auto folder = changed("ct_int4_sym_g16", [](Json& c, Tensors& t) {
    auto& q = c["quantization_config"];
    q["quant_method"] = "halftone";
    q["config_groups"]["group_1"] = q["config_groups"]["group_0"];
    q["config_groups"]["group_1"]["targets"] = {kQ};
    q["config_groups"]["group_1"]["weights"]["group_size"] = 24;
    HostTensor scales(DType::f16, {32, 2}), groups(DType::i32, {32}), input(DType::f32, {32}),
        bias(DType::f32, {32});
    for (int64_t i = 0; i < 64; ++i)
      scales.as<uint16_t>()[static_cast<size_t>(i)] = i % 2 == 0 ? 0x3c00 : 0x4000;  // 1, 2
    for (size_t k = 0; k < 32; ++k) {
      groups.as<int32_t>()[k] = k % 4 == 1 ? 1 : 0;
      input.as<float>()[k] = 2;
      bias.as<float>()[k] = static_cast<float>(k);
    }
    t.erase(kQ + ".weight_scale");
    t.emplace(kQ + ".weight_scale", std::move(scales));
    t.emplace(kQ + ".weight_g_idx", std::move(groups));
    t.emplace(kQ + ".weight_input_scale", std::move(input));
    t.emplace(kQ + ".bias", std::move(bias));
  });
  const auto model = open_model(folder, context_);
  const DecoratedLinear linear = model->linear(*spec::find_op(model->checkpoint().spec, kQ));
  EXPECT_EQ(linear.codes().format.label(), "int4_g24");
  EXPECT_EQ(linear.bias[31], 31.0f);
  const auto w = effective_weight(linear);
  for (int64_t k = 0; k < 32; ++k)
    EXPECT_EQ(w.at(3, k), 2.0f * (k % 4 == 1 ? 2.0f : 1.0f) *
                              static_cast<float>(
                                  int{linear.codes().codes[static_cast<size_t>(3 * 32 + k)]} - 8));
}

TEST_F(Packed, ContradictionsAreOneLineWithFileAndTensor) {
  const auto drop = [](const std::string& suffix) {
    return [suffix](Json&, Tensors& t) { t.erase(kQ + suffix); };
  };
  EXPECT_EQ(failure("ct_int4_sym_g16", drop(".weight_scale")),
            "error[E_MISSING] model.safetensors: tensor "
            "\"model.layers.0.self_attn.q_proj.weight_scale\": is missing; the nearest name is "
            "model.layers.0.self_attn.k_proj.weight_scale");
  EXPECT_THAT(failure("ct_int4_sym_g16", drop(".weight_packed")),
              ::testing::StartsWith("error[E_MISSING] model.safetensors: tensor \"" + kQ +
                                    ".weight_packed\""));
  EXPECT_EQ(
      failure("ct_int4_sym_g16",
              [](Json& c, Tensors&) {
                c["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 8;
              }),
      "error[E_MISMATCH] model.safetensors: tensor "
      "\"model.layers.0.self_attn.q_proj.weight_scale\": shape is [32, 2], wanted [32, 4] (the "
      "scales of int4_g8)");
  EXPECT_EQ(
      failure("ct_int4_sym_g16",
              [](Json& c, Tensors&) {
                c["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 3;
              }),
      "error[E_MISMATCH] model.safetensors: tensor \"model.layers.0.mlp.down_proj.weight_packed\": "
      "6 words cannot hold 48 codes of 3 bits (5 do)");
  EXPECT_EQ(
      failure("ct_int4_sym_g16",
              [](Json&, Tensors& t) { t.at(kQ + ".weight_shape").as<int64_t>()[1] = 31; }),
      "error[E_MISMATCH] model.safetensors: tensor "
      "\"model.layers.0.self_attn.q_proj.weight_shape\": says [32, 31], config.json says [32, 32]");
  EXPECT_EQ(failure("ct_int4_sym_g16",
                    [](Json&, Tensors& t) {
                      t.at(kQ + ".weight_scale").as<float>()[5] =
                          std::numeric_limits<float>::infinity();
                    }),
            "error[E_NONFINITE] model.safetensors: tensor "
            "\"model.layers.0.self_attn.q_proj.weight_scale\": element 5 is not finite");
  EXPECT_EQ(failure("ct_int4_sym_g16",
                    [](Json& c, Tensors&) { c["quantization_config"]["ignore"].push_back(kQ); }),
            "error[E_MISMATCH] config.json: module \"model.layers.0.self_attn.q_proj\" has "
            "quantized weights, but quantization_config leaves it out");
  EXPECT_THAT(failure("ct_int4_asym_g16", drop(".weight_zero_point")),
              ::testing::StartsWith("error[E_MISSING] model.safetensors: tensor \"" + kQ +
                                    ".weight_zero_point\""));
  EXPECT_EQ(
      failure("ct_int3_sym_g16_padded",
              [](Json& c, Tensors&) { c["quantization_config"].erase("version"); }),
      "error[E_MISSING] model.safetensors: tensor \"model.layers.0.mlp.down_proj.weight_packed\": "
      "its width fits two layouts and quantization_config has no "
      "version to tell which");
  EXPECT_EQ(failure("gptq_v1_b4_asym_g16_act",
                    [](Json&, Tensors& t) { t.at(kQ + ".g_idx").as<int32_t>()[3] = 2; }),
            "error[E_BOUNDS] model.safetensors: tensor \"model.layers.0.self_attn.q_proj.g_idx\": "
            "column 3 is in group 2 of 2");
  EXPECT_EQ(
      failure("gptq_v1_b4_sym_g16",
              [](Json& c, Tensors&) { c["quantization_config"]["bits"] = 8; }),
      "error[E_MISMATCH] model.safetensors: tensor \"model.layers.0.self_attn.q_proj.qweight\": "
      "shape is [4, 32], wanted [8, 32] (8 bits packed down 32 columns)");
  EXPECT_EQ(failure("gptq_v1_b4_sym_g16", [](Json&, Tensors& t) { t.erase("model.norm.weight"); }),
            "error[E_MISSING] model.safetensors: tensor \"model.norm.weight\": is missing");
}

TEST_F(Packed, WhatCannotBeReadIsRefusedByName) {
  const auto config = [this](const std::string& name, const std::function<void(Json&)>& change) {
    return failure(name, [&](Json& c, Tensors&) { change(c["quantization_config"]); });
  };
  EXPECT_EQ(config("ct_int4_sym_g16", [](Json& q) { q["quant_method"] = "awq"; }),
            "error[E_UNSUPPORTED] config.json: quantization method \"awq\" cannot be read; "
            "compressed-tensors, gptq and halftone can");
  for (const char* format : {"float-quantized", "naive-quantized", "nvfp4-pack-quantized",
                             "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized",
                             "sparse-bitmask", "sparse-24-bitmask", "marlin-24"})
    EXPECT_EQ(config("ct_int4_sym_g16",
                     [&](Json& q) { q["config_groups"]["group_0"]["format"] = format; }),
              "error[E_UNSUPPORTED] config.json: compressed-tensors format \"" +
                  std::string(format) +
                  "\" cannot be read; pack-quantized, int-quantized and dense can");
  EXPECT_EQ(config("ct_int4_sym_g16",
                   [](Json& q) { q["config_groups"]["group_0"]["weights"]["type"] = "float"; }),
            "error[E_UNSUPPORTED] config.json: weights of type \"float\" cannot be read; integer "
            "weights can");
  EXPECT_EQ(config("ct_int4_sym_g16",
                   [](Json& q) {
                     q["transform_config"] = {{"a", 1}};
                   }),
            "error[E_UNSUPPORTED] config.json: transforms at run time (\"transform_config\") "
            "cannot be applied; use a checkpoint without them");
  EXPECT_EQ(config("gptq_v1_b4_sym_g16", [](Json& q) { q["checkpoint_format"] = "marlin"; }),
            "error[E_UNSUPPORTED] config.json: GPTQ layout \"marlin\" cannot be read; gptq and "
            "gptq_v2 can: convert it with GPTQModel");
  EXPECT_EQ(config("gptq_v1_b4_sym_g16", [](Json& q) { q["pack_dtype"] = "int64"; }),
            "error[E_UNSUPPORTED] config.json: pack_dtype \"int64\" cannot be read; int32 can");
  EXPECT_EQ(config("ct_int4_sym_g16",
                   [](Json& q) { q["config_groups"]["group_0"]["weights"]["num_bits"] = 9; }),
            "error[E_VALUE] config.json: num_bits is 9, wanted 2 to 8");
  EXPECT_EQ(config("gptq_v1_b4_sym_g16", [](Json& q) { q["group_size"] = "16"; }),
            "error[E_TYPE] config.json: group_size is \"\\\"16\\\"\", wanted a whole number");
  EXPECT_EQ(
      config("gptq_v1_b4_sym_g16", [](Json& q) { q.erase("quant_method"), q.erase("desc_act"); }),
      "error[E_MISSING] config.json: quant_method is missing");
}

// A refusal, or an answer: but never an error of ours, and always with the file.
void expect_answer(const std::string& line, const std::string& what) {
  if (line == "accepted") return;
  EXPECT_TRUE(line.starts_with("error[E_") && !line.starts_with("error[E_INTERNAL]"))
      << what << ": " << line;
  EXPECT_TRUE(line.find("config.json") != std::string::npos ||
              line.find("model.safetensors") != std::string::npos)
      << what << ": " << line;
  EXPECT_EQ(line.find('\n'), std::string::npos) << what;
}

TEST_F(Packed, EveryValueOfTheConfigReplaced) {
  const std::vector<Json> values = {nullptr,
                                    true,
                                    false,
                                    0,
                                    -1,
                                    1,
                                    3,
                                    int64_t{1} << 31,
                                    uint64_t{1} << 63,
                                    2.5,
                                    "16",
                                    "",
                                    "re:(",
                                    "re:" + std::string(600, 'a'),
                                    Json::array(),
                                    Json::array({1}),
                                    Json::array({"Linear"}),
                                    Json::object(),
                                    Json{{"a", {{"b", 1}}}}};
  for (const char* name :
       {"ct_mixed", "ct_int8_w8a8", "gptq_v1_b4_asym_g16_act", "gptq_v2_b3_sym_row"}) {
    int64_t refused = 0;
    const std::string folder = changed(name, [](Json&, Tensors&) {});
    const Json config =
        parse_json(env_->read_text(folder + "/config.json", 1 << 20), "config.json");
    Json extended = config["quantization_config"];
    for (const char* key : {"version", "transform_config", "sparsity_config", "kv_cache_scheme",
                            "dynamic", "pack_dtype", "checkpoint_format", "lm_head", "ignore"})
      if (!extended.contains(key)) extended[key] = "there";
    std::set<std::string> places;  // every value, and what holds it
    const Json flat = extended.flatten();
    for (const auto& [pointer, old] : flat.items())
      for (std::string at = pointer; !at.empty(); at = at.substr(0, at.rfind('/')))
        places.insert(at);
    for (const std::string& at : places) {
      for (const Json& value : values) {
        Json with = config;
        with["quantization_config"][Json::json_pointer(at)] = value;
        const auto file = env_->create(folder + "/config.json");
        file->write(with.dump());
        file->close();
        const std::string line = failure(folder);
        expect_answer(line, std::string(name) + " " + at + " = " + value.dump().substr(0, 40));
        refused += line != "accepted";
      }
    }
    EXPECT_GT(refused, 100) << name;
  }
}

TEST_F(Packed, EveryTensorDroppedRetypedOrReshaped) {
  for (const char* name :
       {"ct_int4_asym_g16", "ct_int8_w8a8", "gptq_v1_b4_asym_g16_act", "gptq_v2_b3_sym_row"}) {
    std::vector<std::string> names;
    const auto source = files::open_safetensors(kFixtures + name + "/model.safetensors", context_);
    for (const auto& info : source->tensors())
      if (info.name.find("layers.1.") == std::string::npos) names.push_back(info.name);
    for (const std::string& tensor : names) {
      const auto with = [&](const std::string& what,
                            const std::function<HostTensor(const HostTensor&)>& make) {
        const std::string line = failure(name, [&](Json&, Tensors& t) {
          HostTensor changed = make(t.at(tensor));
          t.erase(tensor);
          if (!changed.shape().empty()) t.emplace(tensor, std::move(changed));
        });
        expect_answer(line, std::string(name) + " " + tensor + " " + what);
        return line;
      };
      // Optional are the shape and the groups of columns.
      const bool optional = tensor.ends_with(".weight_shape") || tensor.ends_with(".g_idx");
      const std::string dropped = with("dropped", [](const HostTensor&) { return HostTensor(); });
      EXPECT_TRUE(optional || dropped != "accepted") << name << " " << tensor;
      for (const DType dtype :
           {DType::u8, DType::i8, DType::i64, DType::f32, DType::f64, DType::f8_e8m0}) {
        bool other = false;
        const std::string line = with("retyped", [&](const HostTensor& t) {
          other = t.dtype() != dtype &&
                  !(dtype_bytes(t.dtype()) >= 2 && (dtype == DType::f32 || dtype == DType::f64)) &&
                  !(t.dtype() == DType::i32 && dtype == DType::i64);
          return HostTensor(dtype, t.shape());
        });
        EXPECT_TRUE(!other || line != "accepted")
            << name << " " << tensor << " as " << dtype_name(dtype);
      }
      for (const Shape& shape : {Shape{1}, Shape{1, 1}, Shape{0}, Shape{1000}, Shape{3, 5, 7}}) {
        bool other = false;
        const std::string line = with("reshaped", [&](const HostTensor& t) {
          other = t.shape() != shape && t.count() != element_count(shape);
          return HostTensor(t.dtype(), shape);
        });
        EXPECT_TRUE(!other || line != "accepted")
            << name << " " << tensor << " " << to_string(shape);
      }
    }
  }
}

TEST_F(Packed, ValuesOutOfRangeAreFound) {
  EXPECT_EQ(failure("gptq_v1_b4_asym_g16_act",
                    [](Json&, Tensors& t) { t.at(kQ + ".g_idx").as<int32_t>()[3] = -2; }),
            "error[E_BOUNDS] model.safetensors: tensor \"model.layers.0.self_attn.q_proj.g_idx\": "
            "column 3 is in group -2 of 2");
  EXPECT_THAT(failure("gptq_v1_b4_sym_g16",
                      [](Json&, Tensors& t) { t.at(kQ + ".scales").as<uint16_t>()[7] = 0x7e00; }),
              ::testing::AllOf(::testing::StartsWith("error[E_NONFINITE] model.safetensors"),
                               ::testing::HasSubstr("scales\": element 7 is not finite")));
  EXPECT_THAT(failure("ct_int4_sym_g16",
                      [](Json&, Tensors& t) { t.at(kQ + ".weight_shape").as<int64_t>()[0] = -1; }),
              ::testing::HasSubstr("says [-1, 32], config.json says [32, 32]"));
  EXPECT_THAT(
      failure("ct_int8_w8a8",
              [](Json& c, Tensors& t) {
                c["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 4;
                t.at(kQ + ".weight").as<int8_t>()[9] = 100;
              }),
      ::testing::HasSubstr("outside 4 bits"));
}

TEST_F(Packed, PresetsStandForTheirGroups) {
  // W8A8 in short form: the same file, the same answer.
  const auto folder = changed("ct_int8_w8a8", [](Json& c, Tensors&) {
    Json targets = c["quantization_config"]["config_groups"]["group_0"]["targets"];
    c["quantization_config"]["config_groups"] = {{"W8A8", targets}};
    c["quantization_config"]["format"] = "int-quantized";
  });
  const auto a = open_model(folder, context_), b = open_model(kFixtures + "ct_int8_w8a8", context_);
  EXPECT_EQ(a->plan(), b->plan());
  EXPECT_EQ(failure("ct_int4_sym_g16",
                    [](Json& c, Tensors&) {
                      c["quantization_config"]["config_groups"] = {{"NVFP4", {"Linear"}}};
                    }),
            "error[E_UNSUPPORTED] config.json: preset \"NVFP4\" cannot be read; integer presets "
            "(W4A16, W8A8, ...) can");
}

TEST(ModuleRegex, MatchesFromTheStartOnly) {
  EXPECT_TRUE(
      ModuleRegex("model\\.layers\\.(0|1)\\..*", "c").matches("model.layers.1.mlp.up_proj"));
  EXPECT_TRUE(ModuleRegex(".*mlp", "c").matches("model.layers.1.mlp.up_proj"));  // the end is free
  EXPECT_FALSE(ModuleRegex("mlp", "c").matches("model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(ModuleRegex("model\\.layers\\.1\\.mlp$", "c").matches("model.layers.1.mlp.up_proj"));
  EXPECT_TRUE(ModuleRegex("(?!.*mlp).*proj", "c").matches("model.layers.1.self_attn.q_proj"));
}

TEST(ModuleRegex, HostilePatternsAreRefusedOrQuick) {
  EXPECT_THROW(ModuleRegex(std::string(600, 'a'), "c"), UnsupportedError);
  EXPECT_THROW(ModuleRegex("(a", "c"), UnsupportedError);
  EXPECT_THROW(ModuleRegex("(a{9}){9}", "c"), UnsupportedError);
  EXPECT_THROW(ModuleRegex("(a)\\1", "c"), UnsupportedError);
  const ModuleRegex slow("(a*)*(a*)*(a*)*b", "c");  // exponential for a matcher that backtracks
  EXPECT_FALSE(slow.matches(std::string(200, 'a')));
}

TEST(Bits, PackingThenUnpackingIsTheIdentity) {
  const CounterRng rng(3);
  for (int64_t bits = 1; bits <= 8; ++bits) {
    for (const int64_t count : {1, 10, 31, 32, 33, 100}) {
      std::vector<uint8_t> codes(static_cast<size_t>(count * 3)), back(codes.size());
      for (size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<uint8_t>(rng.u32(i) & ((1u << bits) - 1));
      std::vector<uint32_t> words(static_cast<size_t>(packed_words(count, bits) * 3));
      pack_codes_down(codes, 3, bits, count, words);
      unpack_codes_down(words, 3, bits, Packing::dense, count, back);
      EXPECT_EQ(codes, back) << bits << " bits, " << count;
    }
  }
}

TEST(Bits, ThreeBitCodesStraddleWordsAsDocumented) {
  std::vector<uint8_t> codes(32, 0);
  codes[10] = 0b101;  // bits 30, 31 of word 0 and bit 0 of word 1
  codes[21] = 0b110;  // bit 31 of word 1 and bits 0, 1 of word 2
  std::vector<uint32_t> words(3);
  pack_codes(codes, 3, words);
  EXPECT_EQ(words, (std::vector<uint32_t>{0x40000000u, 0x00000001u, 0x00000003u}));
  EXPECT_EQ(packed_words(48, 3), 5);
  EXPECT_EQ(packed_words(48, 3, Packing::padded), 5);
  EXPECT_EQ(packed_words(32, 3, Packing::padded), 4);
}

}  // namespace
}  // namespace halftone::pack
