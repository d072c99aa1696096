// Quantization of a real trained model (stories260K) from end to end: the packed folder, its bytes,
// and runs that are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <set>
#include <thread>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
    model = join_path(data_dir(), "models/stories260k");
  }
  std::vector<std::string> quantize(const std::string& recipe, const std::string& out,
                                    std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"quantize", model,    "--recipe", recipe,        "-o", out,
                                      "--quiet",  "--data", data_dir(), "--no-measure"};
    if (std::find(more.begin(), more.end(), "--samples") == more.end())
      words.insert(words.end(), {"--samples", "8", "--length", "128"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Json evaluate(const std::string& name, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"eval",    name,      "--tasks",  "wikitext2",
                                      "--limit", "2",       "--window", "256",
                                      "--json",  "--quiet", "--data",   data_dir()};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = halftone(words);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return parse_json(outcome.out, "eval")["results"]["wikitext2"];
  }
  std::string model;
  Scratch scratch;
};

TEST_F(Stories, NearestRoundingNeedsNoWorkerAndRuns) {
  const Outcome made = halftone(quantize("rtn_int4_g32", scratch.path("rtn")));
  ASSERT_EQ(made.exit, 0) << made.err;
  const double before = evaluate(model)["mean_nll"],
               after = evaluate(scratch.path("rtn"))["mean_nll"];
  EXPECT_GT(after, before - 0.05);
  EXPECT_LT(after, before + 0.5);
}

TEST_F(Stories, AnExistingOutputIsKeptWithoutForce) {
  ASSERT_EQ(halftone(quantize("rtn_int4_g32", scratch.path("out"))).exit, 0);
  const std::string hash = folder_hash(scratch.path("out"));
  const Outcome again = halftone(quantize("rtn_int8", scratch.path("out")));
  EXPECT_EQ(again.exit, 2);
  EXPECT_THAT(again.err, HasSubstr("--force"));
  EXPECT_EQ(folder_hash(scratch.path("out")), hash);
  EXPECT_EQ(halftone(quantize("rtn_int8", scratch.path("out"), {"--force"})).exit, 0);
  EXPECT_NE(folder_hash(scratch.path("out")), hash);
}

TEST_F(Stories, PlanSaysSizeAndTimeAndWritesNothing) {
  const Outcome plan =
      halftone(quantize("rtn_int4_g32", scratch.path("out"), {"--plan", "--json"}));
  ASSERT_EQ(plan.exit, 0) << plan.err;
  const Json json = parse_json(plan.out, "plan");
  EXPECT_GT(json["output_bytes"].get<int64_t>(), 100000);
  EXPECT_EQ(posix_env()->list(scratch.path()).size(), 0u);
  ASSERT_EQ(halftone(quantize("rtn_int4_g32", scratch.path("out"))).exit, 0);
  // The plan counts tensors: the file without its header (8 bytes that say its length, then that
  // many).
  const auto file = posix_env()->open(scratch.path("out/model.safetensors"));
  uint64_t header = 0;
  file->read(0, std::as_writable_bytes(std::span(&header, 1)));
  EXPECT_EQ(file->size() - 8 - header, json["output_bytes"].get<uint64_t>());
}

TEST_F(Stories, WhatCannotWorkIsSaidBeforeAnyWork) {
  const auto refused = [&](std::vector<std::string> more, int exit, const std::string& what,
                           const std::string& recipe = "gptq_int4_g32") {
    const Outcome outcome = halftone(quantize(recipe, scratch.path("out"), std::move(more)));
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(what));
    EXPECT_THAT(posix_env()->list(scratch.path()), testing::Not(testing::Contains("out.work")));
  };
  if (posix_env()->stat(std::string(HALFTONE_BIN_DIR) + "/halftone-worker")) {
    refused({"--plan", "--calibration", "nosuch.txt"}, 3, "nosuch.txt");
    refused({"--calibration", "nosuch.txt"}, 3, "nosuch.txt");
    write_atomically(*posix_env(), scratch.path("narrow.yaml"),
                     "format: {kind: int, bits: 4}\nrounder: {name: obq, max_columns: 100}\n"
                     "calibration: {data: self, samples: 1, length: 8}\n");
    refused({"--plan"}, 3,
            "model.layers.0.mlp.down_proj: obq takes rows x columns^3 steps, and 172 columns",
            scratch.path("narrow.yaml"));
  }
  refused({"--seed", "18446744073709551615"}, 2, "--seed");
  EXPECT_THAT(halftone(quantize("rtn_int4_g32", scratch.path("out"), {"--samples", "2"})).err,
              HasSubstr("needs no calibration"));
}

class StoriesWithWorker : public Stories {
 protected:
  void SetUp() override {
    Stories::SetUp();
    if (!posix_env()->stat(std::string(HALFTONE_BIN_DIR) + "/halftone-worker"))
      GTEST_SKIP() << "built without libtorch: no worker";
  }
};

TEST_F(StoriesWithWorker, GptqBeatsNearestAndItsBytesDoNotDependOnThreads) {
  std::string hash;
  for (const char* threads : {"1", "2", "3"}) {
    const std::string out = scratch.path(std::string("gptq") + threads);
    const Outcome made = halftone(quantize("gptq_int4_g32", out, {"--threads", threads, "--json"}));
    ASSERT_EQ(made.exit, 0) << made.err;
    if (hash.empty()) hash = folder_hash(out);
    EXPECT_EQ(folder_hash(out), hash) << threads << " threads";
    for (const Json& layer : parse_json(made.out, "quantize")["layers"])
      EXPECT_LT(layer["error"].get<double>(), layer["nearest_error"].get<double>()) << layer["op"];
  }
}

TEST_F(StoriesWithWorker, RealAndSimulatedQuantizationAgree) {
  ASSERT_EQ(halftone(quantize("gptq_int4_g32", scratch.path("gptq"))).exit, 0);
  const double real = evaluate(scratch.path("gptq"))["mean_nll"],
               simulated = evaluate(scratch.path("gptq"), {"--engine", "torch"})["mean_nll"];
  EXPECT_NEAR(real, simulated, 0.001);
  EXPECT_NEAR(evaluate(scratch.path("gptq"), {"--mode", "int8"})["mean_nll"].get<double>(), real,
              0.005);
}

TEST_F(StoriesWithWorker, CalibrationOnTheTestTextIsFound) {
  // The beginnings of both parts: this tokenizer makes a token of every other letter.
  const auto env = posix_env();
  env->make_directories(scratch.path("data/wikitext2"));
  for (const char* name : {"wikitext2/test.txt", "wikitext2/train_first_1MB.txt"}) {
    const std::string all = env->read_text(join_path(data_dir(), name), 1 << 24);
    write_atomically(*env, scratch.path("data/" + std::string(name)),
                     all.substr(0, all.rfind('\n', 60000) + 1));
  }
  const std::string data = scratch.path("data");
  const auto overlap = [&](const std::string& calibration) {
    const std::string out = scratch.path("out");
    env->remove_tree(out);
    const Outcome made = halftone({"quantize", model, "--recipe", "gptq_int4_g32", "-o", out,
                                   "--samples", "8", "--length", "128", "--data", data,
                                   "--calibration", calibration, "--explain", "--quiet"});
    EXPECT_EQ(made.exit, 0) << made.err;
    const bool told = made.out.find("CALIBRATION AND TEST TEXT OVERLAP") != std::string::npos;
    const Json measured =
        parse_json(env->read_text(join_path(out, "measured.json"), 1 << 20), "measured");
    return std::pair(measured["overlap"]["share"].get<double>(), told);
  };
  // Windows of the very file; only what is put between its lines differs.
  const auto [same, told_same] = overlap(scratch.path("data/wikitext2/test.txt"));
  EXPECT_GT(same, 0.5);
  EXPECT_TRUE(told_same);
  const auto [other, told_other] = overlap("wikitext2");
  EXPECT_LT(other, 0.02);
  EXPECT_FALSE(told_other);
}

TEST_F(StoriesWithWorker, TheTorchEngineRefusesANumericModeItHasNot) {
  const Outcome outcome = halftone({"eval", model, "--tasks", "wikitext2", "--data", data_dir(),
                                    "--engine", "torch", "--mode", "int8"});
  EXPECT_EQ(outcome.exit, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--mode int8: the torch engine simulates in floats"));
}

TEST_F(StoriesWithWorker, ADeviceThatIsNotThereIsSaidBeforeAnyWork) {
  auto command = quantize("gptq_int4_g32", scratch.path("out"));
  command.insert(command.end(), {"--device", "cuda:117"});
  EXPECT_EQ(halftone(command).exit, 3);
  command.back() = "abacus";
  const Outcome outcome = halftone(command);
  EXPECT_EQ(outcome.exit, 2);
  EXPECT_THAT(outcome.err, HasSubstr("device: unknown device \"abacus\"; use cpu, cuda or cuda:N"));
  EXPECT_EQ(folder_hash(scratch.path()), folder_hash(Scratch().path()));
}

TEST_F(StoriesWithWorker, CompareTakesItsLogitsFromEitherEngine) {
  const std::string out = scratch.path("out");
  ASSERT_EQ(halftone(quantize("gptq_int4_g32", out)).exit, 0);
  const auto row = [&](const std::string& engine) {
    const Outcome outcome =
        halftone({"compare", model, out, "--data", data_dir(), "--windows", "3", "--window", "128",
                  "--no-speed", "--engine", engine, "--json", "--quiet"});
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    const Json result = parse_json(outcome.out, "compare");
    EXPECT_EQ(result["simulated"], engine == "torch");
    return result["models"][1];
  };
  const Json real = row("runtime"), simulated = row("torch");
  // Both engines sum in float32 in their own order: logits differ by about 1e-5.
  EXPECT_NEAR(real["kl_mean"].get<double>(), simulated["kl_mean"].get<double>(), 1e-5);
  EXPECT_NEAR(real["perplexity"].get<double>() / simulated["perplexity"].get<double>(), 1, 1e-5);
}

// Kernels on codes, and the same weights dequantized to floats beforehand.
TEST_F(StoriesWithWorker, GreedyTextOfRealAndSimulatedQuantizationIsTheSame) {
  const std::string real = scratch.path("real"), simulated = scratch.path("simulated");
  ASSERT_EQ(halftone(quantize("gptq_int4_g32", real)).exit, 0);
  const auto env = posix_env();
  env->make_directories(simulated);
  ASSERT_EQ(run({std::string(HALFTONE_BIN_DIR) + "/dequantize", real,
                 join_path(simulated, "model.safetensors")})
                .exit,
            0);
  for (const std::string& name : env->list(model))
    if (name != "model.safetensors")
      write_atomically(*env, join_path(simulated, name),
                       env->read_text(join_path(model, name), 1 << 24));
  const auto text = [&](const std::string& folder) {
    const Outcome outcome = halftone({"run", folder, "-p", "Once upon a time", "-n", "64",
                                      "--greedy", "--no-template", "--mode", "exact", "--json"});
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    const Json json = parse_json(outcome.out, "run");
    EXPECT_EQ(json["tokens"], 64) << json;
    return json["text"].get<std::string>();
  };
  EXPECT_EQ(text(real), text(simulated));
}

TEST_F(StoriesWithWorker, KilledAtEveryWriteSyncAndRenameItResumesToTheSameBytes) {
  if (run({"strace", "-o", "/dev/null", "true"}).exit != 0)
    GTEST_SKIP() << "strace cannot trace here";
  // Little text: what is tested is the order of writes, not the rounding.
  const std::vector<std::string> small = {"--samples", "2", "--length", "32", "--threads", "1"};
  const auto command = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.end(), small.begin(), small.end());
    return quantize("gptq_int4_g32", out, more);
  };
  const std::string whole = scratch.path("whole");
  ASSERT_EQ(halftone(command(whole, {})).exit, 0);
  const std::string hash = folder_hash(whole);
  std::set<int64_t> reused;
  int64_t kills = 0;
  std::mutex mutex;
  for (const char* call : {"write", "fsync", "rename"}) {
    // Two runs side by side: what they wait for is the disk and the start of the worker.
    std::atomic<int64_t> next{1};
    std::atomic<bool> done{false};
    const auto kill_and_resume = [&](const std::string& out) {
      while (!done) {
        const int64_t n = next++;
        posix_env()->remove_tree(out);
        posix_env()->remove_tree(out + ".work");
        std::vector<std::string> words = {
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            std::string("trace=") + call,
            "-e",
            std::string("inject=") + call + ":signal=SIGKILL:when=" + std::to_string(n),
            halftone_path()};
        for (const std::string& word : command(out, {})) words.push_back(word);
        if (run(words).exit == 0) {  // fewer than n such calls: all of them have been tried
          const std::lock_guard lock(mutex);
          EXPECT_EQ(folder_hash(out), hash);
          done = true;
          return;
        }
        const Outcome resumed = halftone(command(out, {"--resume", "--json"}));
        const std::lock_guard lock(mutex);
        EXPECT_EQ(resumed.exit, 0) << call << " " << n << ": " << resumed.err;
        if (resumed.exit != 0) {
          done = true;
          return;
        }
        EXPECT_EQ(folder_hash(out), hash) << call << " " << n;
        reused.insert(parse_json(resumed.out, "quantize")["reused_blocks"].get<int64_t>());
        if (++kills % 50 == 0) std::cerr << "  " << kills << " kills\n";
      }
    };
    std::thread beside([&] { kill_and_resume(scratch.path("killed_a")); });
    kill_and_resume(scratch.path("killed_b"));
    beside.join();
  }
  // At least one resume from every block.
  for (int64_t block = 0; block <= 5; ++block)
    EXPECT_TRUE(reused.contains(block)) << "no resume reused " << block << " blocks";
  RecordProperty("kills", static_cast<int>(kills));
}

}  // namespace
}  // namespace halftone::tests
