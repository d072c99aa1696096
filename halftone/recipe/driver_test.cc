#include <unistd.h>

#include "halftone/recipe/test_driver.h"

namespace halftone::recipe {
namespace {

TEST_F(Driver, WritesAFolderThatReadsBackAsTheCodesItChose) {
  const QuantizeResult result = run({});
  EXPECT_EQ(result.layers.size(), 21u);
  EXPECT_FALSE(exists("out.work"));
  for (const LayerReport& layer : result.layers) {
    EXPECT_GT(layer.error, 0) << layer.op;
    EXPECT_LT(layer.ratio(), 1) << layer.op;
  }
  EXPECT_EQ(result.plan.layout, "compressed-tensors");
  EXPECT_DOUBLE_EQ(result.bits_per_weight, 5.0);  // 4 + 16 / 16

  const auto model = pack::open_model(folder.in("out"), folder.context);
  EXPECT_EQ(model->plan().ports.size(), 21u);
  const auto source = spec::open_checkpoint(folder.in("model"), folder.context);
  for (const auto& ref : spec::linears(source.spec)) {
    const auto linear = model->linear(*ref.op);
    ASSERT_EQ(linear.quantized(), ref.op->name != "lm_head");
    const HostTensor w = source.tensors->read(ref.linear().weight.name);
    const Matrix<float> q = pack::effective_weight(linear);
    double worst = 0;
    for (size_t i = 0; i < q.data.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(q.data[i]) - w.as<float>()[i]));
    // Coordinate descent moves codes by a few steps; a step of 4 bits on values of sigma 0.2 is
    // about 0.07.
    EXPECT_LT(worst, linear.quantized() ? 0.8 : 0.001) << ref.op->name;
  }
  const Json config = parse_json(folder.read("out/config.json"), "config.json");
  EXPECT_EQ(config["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["quantization_config"]["ignore"].dump(), "[\"lm_head\"]");
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(folder.read("out/tokenizer.json"), "{\"fake\": true}");
  const Json receipt = parse_json(folder.read("out/halftone.json"), "halftone.json");
  EXPECT_EQ(receipt["layers"].size(), 21u);
  EXPECT_EQ(receipt["recipe"]["rounder"]["name"], "feedback");
  EXPECT_EQ(receipt["fingerprint"], result.fingerprint);
  // The plan's bytes are the file's.
  EXPECT_EQ(result.plan.output_bytes, model->weight_bytes());
  EXPECT_GT(result.output_bytes, result.plan.output_bytes);
}

TEST_F(Driver, SequentialAndOverridesReachTheRounder) {
  const auto plain = run({.output = "a"});
  const auto parallel = run({.recipe = "{sequential: false, format: int4_g16, rounder: feedback, "
                                       "calibration: {samples: 5, length: 12}}",
                             .output = "b"});
  const auto mixed = run(
      {.recipe = "{format: int4_g16, rounder: feedback, calibration: {samples: 5, length: 12},\n"
                 " overrides: [{roles: key, rounder: nearest}, {roles: mlp_down, format: int8}]}",
       .output = "c"});
  const auto layer = [](const QuantizeResult& r, const std::string& op) {
    for (const LayerReport& l : r.layers)
      if (l.op == op) return l;
    return LayerReport{};
  };
  const std::string first = "model.layers.0.self_attn.q_proj",
                    later = "model.layers.0.mlp.down_proj";
  EXPECT_EQ(layer(plain, first).error,
            layer(parallel, first).error);  // sees the same inputs either way
  EXPECT_NE(layer(plain, later).error, layer(parallel, later).error);
  EXPECT_EQ(layer(mixed, "model.layers.0.self_attn.k_proj").rounder, "nearest");
  EXPECT_EQ(layer(mixed, "model.layers.0.self_attn.k_proj").ratio(), 1);
  EXPECT_LT(layer(mixed, "model.layers.0.self_attn.v_proj").ratio(), 1);
  EXPECT_EQ(layer(mixed, later).format.bits, 8);
  EXPECT_EQ(pack::open_model(folder.in("c"), folder.context)
                ->plan()
                .find(later, format::Port::weight)
                ->bits,
            8);
}

TEST_F(Driver, SameBytesAtAnyThreadCountAndSpillBudget) {
  run({});
  const auto wanted = hashes("out");
  int i = 0;
  for (const int64_t threads : {1, 2, 3})
    for (const uint64_t budget : {uint64_t{0}, uint64_t{4000}, uint64_t{1} << 30}) {
      const std::string name = "out" + std::to_string(i++);
      run({.output = name, .threads = threads, .spill_budget = budget});
      EXPECT_EQ(hashes(name), wanted) << threads << " threads, budget " << budget;
    }
}

TEST_F(Driver, NearestNeedsNoEngine) {
  QuantizeRequest request = request_for({.recipe = "{format: int4_g32, keep: embedding}"});
  Capabilities can;
  can.parts = &test_parts();
  const QuantizeResult result = quantize(request, can, folder.context);
  EXPECT_FALSE(result.calibration.has_value());
  EXPECT_EQ(result.blocks, 4);                // three blocks, and the head
  EXPECT_EQ(result.plan.layout, "halftone");  // down_proj has K = 48: a short last group
  const auto model = pack::open_model(folder.in("out"), folder.context);
  for (const auto& ref : spec::linears(request.checkpoint.spec)) {
    const HostTensor w = request.checkpoint.tensors->read(ref.linear().weight.name);
    Matrix<float> m(ref.linear().out, ref.linear().in);
    std::copy(w.as<float>().begin(), w.as<float>().end(), m.data.begin());
    const auto codes = format::quantize_nearest(m, request.recipe.format);
    EXPECT_EQ(model->linear(*ref.op).codes().codes, codes.codes) << ref.op->name;
    EXPECT_EQ(model->linear(*ref.op).codes().scales, codes.scales) << ref.op->name;
  }
  // With calibration asked for, a program without an engine says so before anything is written.
  request = request_for({.output = "none"});
  EXPECT_THAT(line_of([&] { quantize(request, can, folder.context); }),
              HasSubstr("calibration needs the engine"));
  EXPECT_FALSE(exists("none.work"));
}

TEST_F(Driver, GptqLayoutHoldsTheSameWeights) {
  // K and N are multiples of 8 at 4 bits: 32, 48, 16.
  run({.output = "ours"});
  run({.recipe = "{layout: gptq, format: int4_g16, rounder: feedback, calibration: {samples: 5, "
                 "length: 12}}",
       .output = "v1"});
  run({.recipe = "{layout: gptq_v2, format: int4_g16, rounder: feedback, calibration: {samples: 5, "
                 "length: 12}}",
       .output = "v2"});
  const auto ours = pack::open_model(folder.in("ours"), folder.context);
  for (const char* name : {"v1", "v2"}) {
    const auto gptq = pack::open_model(folder.in(name), folder.context);
    const Json config = parse_json(folder.read(std::string(name) + "/config.json"),
                                   "config.json")["quantization_config"];
    EXPECT_EQ(config["checkpoint_format"], std::string(name) == "v1" ? "gptq" : "gptq_v2");
    EXPECT_EQ(parse_json(folder.read(std::string(name) + "/quantize_config.json"), "q"), config);
    for (const auto& ref : spec::linears(ours->checkpoint().spec))
      EXPECT_EQ(pack::effective_weight(gptq->linear(*ref.op)),
                pack::effective_weight(ours->linear(*ref.op)))
          << ref.op->name;
  }
  EXPECT_THAT(refusal({.recipe = "{layout: gptq, format: int4_g32}", .output = "no"}),
              HasSubstr("the GPTQ layout cannot hold group 32 on K = 48; use one scale a row, or "
                        "keep the halftone layout"));
  EXPECT_THAT(refusal({.recipe = "{layout: gptq_v1, format: int4_g16_asym}", .output = "no"}),
              HasSubstr("use layout gptq_v2"));
  EXPECT_FALSE(exists("no.work"));
}

TEST_F(Driver, ScatteredGroupsAreNotShownToOtherLoaders) {
  const std::string scattering =
      "{format: int4_g16, rounder: {name: feedback, list_groups: true}, calibration: {samples: 5, "
      "length: 12}";
  const QuantizeResult result = run({.recipe = scattering + "}"});
  EXPECT_EQ(result.plan.layout, "halftone");
  EXPECT_EQ(result.plan.output_bytes,  // the group of each column counted
            pack::open_model(folder.in("out"), folder.context)->weight_bytes());
  EXPECT_THAT(folder.log, HasSubstr("static_groups: true keeps it"));
  const Json config =
      parse_json(folder.read("out/config.json"), "config.json")["quantization_config"];
  EXPECT_EQ(config["quant_method"], "halftone");
  EXPECT_EQ(config["config_groups"]["group_0"]["weights"]["actorder"], "group");
  run({.recipe = scattering + ", layout: gptq}", .output = "gptq"});
  EXPECT_EQ(
      parse_json(folder.read("gptq/config.json"), "config.json")["quantization_config"]["desc_act"],
      true);
  run({.output = "plain"});
  const auto scattered = pack::open_model(folder.in("out"), folder.context),
             gptq = pack::open_model(folder.in("gptq"), folder.context),
             plain = pack::open_model(folder.in("plain"), folder.context);
  for (const auto& ref : spec::linears(plain->checkpoint().spec)) {
    EXPECT_EQ(pack::effective_weight(scattered->linear(*ref.op)),
              pack::effective_weight(plain->linear(*ref.op)))
        << ref.op->name;
    EXPECT_EQ(pack::effective_weight(gptq->linear(*ref.op)),
              pack::effective_weight(plain->linear(*ref.op)))
        << ref.op->name;
  }
}

TEST_F(Driver, ExistingOutputNeedsForce) {
  run({});
  const auto first = hashes("out");
  EXPECT_THAT(refusal({}), HasSubstr("exists already; --force replaces it"));
  EXPECT_TRUE(run({.resume = true}).already_complete);
  EXPECT_EQ(run({.resume = true}).layers.size(), 21u);
  EXPECT_THAT(refusal({.recipe = "{format: int8}", .resume = true}),
              HasSubstr("exists already and is another run's result"));
  EXPECT_FALSE(exists("out.work"));
  EXPECT_EQ(hashes("out"), first);
  run({.recipe = "{format: int8}", .force = true});
  EXPECT_NE(hashes("out"), first);
  EXPECT_FALSE(exists("out.work"));
}

TEST_F(Driver, ForceReplacesOnlyWhatIsOurs) {
  folder.env().make_directories(folder.in("home"));
  folder.write("home/thesis.txt", "years of work");
  EXPECT_THAT(refusal({.output = "home", .force = true}),
              HasSubstr("holds no halftone.json: it is no result of halftone"));
  EXPECT_EQ(folder.read("home/thesis.txt"), "years of work");
  EXPECT_FALSE(exists("home.work"));
  folder.env().remove(folder.in("home/thesis.txt"));
  run({.output = "home", .force = true});
  EXPECT_TRUE(exists("home/halftone.json"));
}

TEST_F(Driver, AnOutputThatNoFolderCanBeRenamedOntoIsSaidBeforeAnyWork) {
  folder.env().make_directories(folder.in("there"));
  for (const char* target : {"there", "nowhere"}) {
    const std::string link = folder.in(std::string("to_") + target);
    ASSERT_EQ(::symlink(target, link.c_str()), 0);
    EXPECT_THAT(refusal({.output = std::string("to_") + target}),
                HasSubstr("is a symbolic link, which cannot be replaced"));
  }
  EXPECT_THAT(refusal({.output = "there/."}), HasSubstr("give the output a name of its own"));
  EXPECT_EQ(posix_env()->place("/proc"), Place::mount_point);
}

TEST_F(Driver, AFinishedOutputThatWasDamagedIsNotCalledComplete) {
  run({});
  const std::string good = folder.read("out/model.safetensors");
  EXPECT_EQ(refusal({.resume = true}), "no error");
  std::string bad = good;
  bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
  folder.write("out/model.safetensors", bad);
  EXPECT_THAT(refusal({.resume = true}),
              testing::AllOf(HasSubstr("is not what halftone.json says was written"),
                             HasSubstr("--force starts over")));
  folder.write("out/model.safetensors", good);
  folder.env().remove(folder.in("out/tokenizer.json"));
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("out/tokenizer.json: is missing"));
  folder.env().remove(folder.in("out/model.safetensors"));
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("--force starts over"));
  run({.force = true});
  EXPECT_EQ(folder.read("out/model.safetensors"), good);
}

TEST_F(Driver, WhereTheCalibrationFileLiesChangesNoByte) {
  const auto with = [&](const std::string& path, const std::string& output) {
    run({.recipe = "{format: int4_g16, rounder: feedback, calibration: {data: " + path +
                   ", samples: 5, length: 12}}",
         .output = output});
    return hashes(output);
  };
  EXPECT_EQ(with("here/text.jsonl", "a"), with("/elsewhere/text.jsonl", "b"));
}

TEST_F(Driver, BadInputIsSaidBeforeAnyWork) {
  EXPECT_THAT(refusal({.output = "model", .force = true}),
              HasSubstr("the output is the input model"));
  EXPECT_THAT(refusal({.output = ".", .force = true}),
              HasSubstr("the output folder holds the input model"));
  folder.write("file", "x");
  EXPECT_THAT(refusal({.output = "file"}), HasSubstr("exists and is not a folder"));
  write_model("nan", 2, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.layers.1.mlp.up_proj.weight")
      t.as<float>()[77] = t.as<float>()[80] = std::nanf("");
  });
  EXPECT_THAT(refusal({.model = "nan"}),
              HasSubstr("tensor \"model.layers.1.mlp.up_proj.weight\" has 2 values that are not "
                        "finite, the first at index 77"));
  write_model("large", 2, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.embed_tokens.weight") t.as<float>()[3] = 70000.0f;
  });
  EXPECT_THAT(
      refusal({.model = "large"}),
      HasSubstr("has values beyond f16's 65504; set dense_dtype to bf16 or f32 in the recipe"));
  EXPECT_THAT(
      refusal(
          {.recipe =
               "{format: int4_g16, rounder: feedback, calibration: {samples: 1, length: 200}}"}),
      HasSubstr("samples of 200 tokens are longer than the model's 128; use --length 128"));
  EXPECT_THAT(refusal({.change = [](QuantizeRequest& r) { r.memory_limit = 1 << 20; }}),
              HasSubstr("error[E_BUDGET] memory"));
  run({.output = "done"});
  EXPECT_THAT(refusal({.model = "done"}), HasSubstr("the model is quantized already"));
  // Several at once.
  EXPECT_THAT(
      refusal({.recipe =
                   "{format: int4_g16, rounder: feedback, calibration: {samples: 1, length: 200}}",
               .output = "done"}),
      testing::AllOf(HasSubstr("2 problems: (1) [E_USAGE] calibration"), HasSubstr("(2) [E_USAGE]"),
                     HasSubstr("exists already")));
  const auto poor = fault_env(folder.env(), [](std::string_view operation, const std::string&) {
    return operation == "create" ? EACCES : 0;
  });
  EXPECT_THAT(refusal({.env = poor.get()}),
              HasSubstr("give an -o in a folder that you may write in"));
  EXPECT_FALSE(exists("out"));
  EXPECT_FALSE(exists("out.work"));
}

TEST_F(Driver, ADeadHookIsAnError) {
  const std::string line =
      refusal({.recipe = "{format: int4_g16, rounder: {name: feedback, sweeps: 0}, calibration: "
                         "{samples: 5, length: 12}}"});
  EXPECT_THAT(line, HasSubstr("error[E_NONFINITE]"));
  EXPECT_THAT(
      line,
      HasSubstr("lost exactly what nearest rounding loses: its calibration did not reach it"));
}

TEST_F(Driver, PlanWritesNothingAndCountsWhatIsWritten) {
  const QuantizeRequest request = request_for({});
  Capabilities can;
  can.parts = &test_parts();
  can.engine = [](uint64_t) { return std::unique_ptr<BlockEngine>(); };
  can.calibrate = [](const CalibrationRequest&) { return CalibrationSet(); };
  can.measure_gflops = [] { return 10.0; };
  const auto before = folder.env().list(folder.path());
  const PlanReport plan = plan_quantize(request, can, folder.context);
  EXPECT_EQ(folder.env().list(folder.path()), before);
  EXPECT_EQ(plan.parameters, spec::parameter_count(request.checkpoint.spec));
  EXPECT_EQ(plan.quantized_parameters, 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32));
  EXPECT_DOUBLE_EQ(plan.bits_per_weight, 5.0);
  EXPECT_DOUBLE_EQ(plan.nominal_bits, 4.0);
  EXPECT_GT(plan.seconds, 0);
  EXPECT_GT(plan.peak_memory, 0u);
  ASSERT_EQ(plan.rows.size(), 2u);
  EXPECT_EQ(plan.rows[0].format, "int4_g16");
  EXPECT_EQ(plan.rows[1].format, "dense f16");
  EXPECT_EQ(plan.rows[1].parameters + plan.quantized_parameters, plan.parameters);
}

TEST_F(Driver, ATiedHeadIsWrittenOnce) {
  write_model("tied", 2, true);
  run({.model = "tied"});
  const auto source = files::open_safetensors(folder.in("out/model.safetensors"), folder.context);
  EXPECT_EQ(source->find("lm_head.weight"), nullptr);
  EXPECT_NE(source->find("model.embed_tokens.weight"), nullptr);
  EXPECT_TRUE(pack::open_model(folder.in("out"), folder.context)->checkpoint().spec.tied_head);
}

}  // namespace
}  // namespace halftone::recipe
